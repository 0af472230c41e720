"""The friendly side of a generator, on a fake engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from enginebay import Concurrency, FinishReason
from enginebay.errors import (
    EngineClosedError,
    GenerationError,
    UnsupportedFeatureError,
    UnsupportedParameterError,
)
from enginebay.generation.handle import GeneratorHandle
from enginebay.generation.results import Result
from enginebay.hookspecs import RequestEvent
from fake_engine import FakeGenerator, fake_handle, fake_model, fake_spec

Ask = Callable[..., Result]


def ask_blocking(handle: GeneratorHandle, prompt: str, **sampling: Any) -> Result:
    return handle.complete(prompt, **sampling)


def ask_async(handle: GeneratorHandle, prompt: str, **sampling: Any) -> Result:
    return asyncio.run(handle.acomplete(prompt, **sampling))


@pytest.fixture(params=[ask_blocking, ask_async], ids=["blocking", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


def test_a_result_says_all(ask: Ask) -> None:
    result = ask(fake_handle(), "xy", temperature=0.5)
    assert (result.text, str(result), result.finish_reason) == ("Hello", "Hello", FinishReason.STOP)
    assert result.outputs[0].token_ids == (0, 1)
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.cached_tokens) == (2, 2, 1)
    assert result.prompt.text == "xy"
    assert [entry.parameter for entry in result.ledger] == ["temperature"]
    assert 0 <= result.timing.ttft <= result.timing.total
    assert (result.backend, result.device) == ("fake", "cpu")


def test_chat_renders_the_models_template_and_the_system_prompt() -> None:
    engine = FakeGenerator()
    result = fake_handle(engine, system="Be brief.").chat("Hi")
    assert engine.requests[0].prompt == "[system]Be brief.[user]Hi[assistant]" == result.prompt.text


def test_a_model_without_template_cannot_chat() -> None:
    handle = fake_handle(model=fake_model(chat_template=None))
    with pytest.raises(UnsupportedFeatureError, match="no chat template"):
        handle.chat("Hi")
    assert handle.complete("Hi").text == "Hello"


def test_stop_strings_across_pieces(ask: Ask) -> None:
    engine = FakeGenerator(["one ST", "OP", *[" more"] * 98], pause=0.005)
    result = ask(fake_handle(engine), "xy", stop="STOP")
    assert (result.text, result.finish_reason) == ("one ", FinishReason.STOP)
    assert engine.given < 20, "the engine went on after the stop string"
    assert result.usage.prompt_tokens == 3, "counted by the tokenizer, begin token included"
    assert engine.running == 0


def test_text_that_only_began_like_a_stop_string_is_given_at_the_end(ask: Ask) -> None:
    assert ask(fake_handle(FakeGenerator(["a", "ST"])), "x", stop="STOP").text == "aST"


def test_n_outputs_have_seeds_of_their_own(ask: Ask) -> None:
    engine = FakeGenerator()
    result = ask(fake_handle(engine), "x", n=3, seed=2**32 - 1)
    assert [output.text for output in result.outputs] == ["Hello"] * 3
    assert [request.params.seed for request in engine.requests] == [2**32 - 1, 0, 1]
    assert result.usage.completion_tokens == 6
    assert result.usage.prompt_tokens == 1


def test_chunks_say_which_output_they_belong_to() -> None:
    chunks = list(fake_handle().stream("x", n=2))
    assert [chunk.choice for chunk in chunks] == [0, 0, 0, 1, 1, 1]


def test_defaults_come_from_the_configuration_and_give_way() -> None:
    engine = FakeGenerator()
    handle = fake_handle(engine, defaults={"max_tokens": 1, "seed": 7})
    assert handle.complete("x").finish_reason is FinishReason.LENGTH
    assert handle.complete("x", max_tokens=2).text == "Hello"
    assert engine.requests[1].params.seed == 7


def test_an_unsupported_parameter_is_refused_before_the_engine_is_asked() -> None:
    engine = FakeGenerator()
    having = fake_spec("having", sampling=frozenset({"min_p"}))
    with pytest.raises(UnsupportedParameterError, match="having"):
        fake_handle(engine, others=[having]).stream("x", min_p=0.1)
    assert engine.requests == []


def test_the_engines_own_exception_does_not_get_out(ask: Ask) -> None:
    with pytest.raises(GenerationError, match="RuntimeError: the fake engine broke") as caught:
        ask(fake_handle(FakeGenerator(["par", "tial"], fail_after=1)), "x")
    assert caught.value.partial_text == "par"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_stream_without_an_end_is_an_error(ask: Ask) -> None:
    class Endless(FakeGenerator):
        def stream(self, request: Any) -> Any:
            return iter(list(super().stream(request))[:-1])

    with pytest.raises(GenerationError, match="finish reason"):
        ask(fake_handle(Endless()), "x")


def test_closing_a_stream_stops_the_engine() -> None:
    engine = FakeGenerator(["a"] * 100)
    with fake_handle(engine).stream("x") as stream:
        assert next(stream).text == "a"
    assert (engine.given, engine.running) == (1, 0)
    with pytest.raises(GenerationError, match="not been read") as caught:
        _ = stream.result
    assert caught.value.partial_text == "a"


def test_cancelling_a_task_stops_the_engine_and_frees_the_gate() -> None:
    engine = FakeGenerator(["a"] * 1000, pause=0.002)
    handle = fake_handle(engine, spec=fake_spec(concurrency=Concurrency.SERIAL))

    async def run() -> None:
        task = asyncio.create_task(handle.acomplete("x"))
        while engine.given < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 0
        assert (await handle.acomplete("x", max_tokens=1)).text == "a"

    asyncio.run(run())
    assert engine.given < 900


@pytest.mark.parametrize(("concurrency", "most"), [(Concurrency.SERIAL, 1), (Concurrency.CONTINUOUS_BATCHING, 8)])
def test_calls_to_a_serial_engine_wait_their_turn(concurrency: Concurrency, most: int) -> None:
    engine = FakeGenerator(["a"] * 10, pause=0.002)
    handle = fake_handle(engine, spec=fake_spec(concurrency=concurrency))
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        assert handle.complete("x").text == "a" * 10

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert engine.most_running == most


def test_64_tasks_on_a_serial_engine() -> None:
    engine = FakeGenerator()
    handle = fake_handle(engine, spec=fake_spec(concurrency=Concurrency.SERIAL))

    async def run() -> list[Result]:
        return list(await asyncio.gather(*(handle.acomplete("x") for _ in range(64))))

    assert {result.text for result in asyncio.run(run())} == {"Hello"}
    assert engine.most_running == 1


def test_a_batch_keeps_its_order() -> None:
    engine = FakeGenerator()
    engine.max_concurrency = 4
    results = fake_handle(engine).chat_batch([f"q{index}" for index in range(10)])
    assert [result.prompt.text for result in results] == [f"[user]q{index}[assistant]" for index in range(10)]


def test_after_the_engine_was_closed() -> None:
    handle = fake_handle()
    handle.opened.closed = True
    for use in (lambda: handle.complete("x"), lambda: handle.tokenize("x"), lambda: handle.stream_chat("x")):
        with pytest.raises(EngineClosedError):
            use()


def test_observers_are_told_of_success_and_failure() -> None:
    events: list[RequestEvent] = []
    fake_handle(tell=events.append).complete("x")
    with pytest.raises(GenerationError):
        fake_handle(FakeGenerator(fail_after=0), tell=events.append).complete("x")
    assert events[0].error is None
    assert events[0].usage is not None
    assert "broke" in (events[1].error or "")


class Town(BaseModel):
    name: str


def test_parse_gives_the_model_or_says_why_not() -> None:
    assert fake_handle(FakeGenerator(['{"name": ', '"Ulm"}'])).complete("x").parse(Town) == Town(name="Ulm")
    with pytest.raises(GenerationError, match="no Town") as caught:
        fake_handle(FakeGenerator(['{"na'])).complete("x").parse(Town)
    assert caught.value.partial_text == '{"na'
