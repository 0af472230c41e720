"""What goes wrong between enginebay and a server. The server here is scripted; conformance tests have real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_server import ScriptedServer, as_json, stream, text

from enginebay import Bay, FinishReason
from enginebay.errors import (
    ConfigError,
    ContextLengthError,
    EngineClosedError,
    EngineOpenError,
    GenerationError,
    InvalidParameterError,
    UnsupportedParameterError,
)
from enginebay.generation.handle import GeneratorHandle
from machines import machine

USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
DONE = (text("Hel"), text("lo", "stop"), USAGE, "[DONE]")
FINE = stream(*DONE)

Connect = Callable[..., GeneratorHandle]


@pytest.fixture
def connect() -> Iterator[Connect]:
    bays: list[Bay] = []

    def open_one(server: ScriptedServer | str, backend: str = "openai", **options: Any) -> GeneratorHandle:
        url = server if isinstance(server, str) else server.url
        bays.append(Bay(hardware=machine("epyc_server")))
        given = {"base_url": url, "api_key": "secret-of-a-test", "most_wait": 0.05} | options
        return bays[-1].generator("remote:scripted", backend=backend, streams=4, fallback=False, options=given)

    yield open_one
    for bay in bays:
        bay.close()


def test_an_answer_with_usage(connect: Connect) -> None:
    with ScriptedServer(FINE) as server:
        result = connect(server).complete("Hi", temperature=0, max_tokens=5, stop="x")
        assert result.text == "Hello"
        assert result.finish_reason is FinishReason.STOP
        assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (3, 2)
        [sent] = server.requests
        assert sent["path"] == "/v1/completions"
        assert sent["max_completion_tokens"] == 5 and sent["temperature"] == 0 and sent["stop"] == ["x"]
        assert server.headers[0]["Authorization"] == "Bearer secret-of-a-test"


def test_a_conversation_goes_as_messages_and_tool_calls_come_back(connect: Connect) -> None:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": '}}
    rest = {"index": 0, "function": {"arguments": "1}"}}
    events = (
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None, "tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [rest]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        "[DONE]",
    )
    from enginebay.prompts.tools import Tool

    def add(a: int) -> int:
        """Add."""
        return a

    with ScriptedServer(stream(*events)) as server:
        result = connect(server).chat("Add", tools=[Tool.from_function(add)])
        assert server.requests[0]["path"] == "/v1/chat/completions"
        assert server.requests[0]["messages"] == [{"role": "user", "content": "Add"}]
        assert server.requests[0]["tools"][0]["function"]["name"] == "add"
        from enginebay.prompts.tool_calls import parse_tool_calls

        calls = parse_tool_calls(result.text)
        assert "add" in str(calls) and "1" in str(calls)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(connect: Connect, status: int) -> None:
    with ScriptedServer(as_json(status, {"error": {"message": "busy"}}), FINE) as server:
        assert connect(server).complete("Hi").text == "Hello"
        assert len(server.requests) == 2


def test_the_server_says_when(connect: Connect) -> None:
    with ScriptedServer(as_json(429, {}, Retry_After="0.01"), FINE) as server:
        assert connect(server, most_wait=60).complete("Hi").text == "Hello"


def test_tries_end(connect: Connect) -> None:
    with ScriptedServer(as_json(503, {"error": {"message": "still loading"}})) as server:
        handle = connect(server, retries=2)
        with pytest.raises(GenerationError, match="HTTP 503: still loading"):
            handle.complete("Hi")
        assert len(server.requests) == 3


def test_what_does_not_pass_is_not_tried_again(connect: Connect) -> None:
    with ScriptedServer(as_json(400, {"error": {"message": "temperature too spicy"}})) as server:
        with pytest.raises(InvalidParameterError, match="too spicy"):
            connect(server).complete("Hi")
        assert len(server.requests) == 1


def test_a_prompt_too_long(connect: Connect) -> None:
    message = "This model's maximum context length is 128 tokens. However, you requested 300 tokens"
    with ScriptedServer(as_json(400, {"error": {"message": message}})) as server, pytest.raises(ContextLengthError):
        connect(server).complete("Hi")


def test_a_connection_cut_in_the_middle_keeps_the_text_and_is_not_tried_again(connect: Connect) -> None:
    with ScriptedServer(stream(text("Hel"), text("lo"), cut=True)) as server:
        with pytest.raises(GenerationError, match="connection") as caught:
            connect(server).complete("Hi")
        assert caught.value.partial_text == "Hello"
        assert len(server.requests) == 1


@pytest.mark.parametrize("last", ['{"no": json', {"error": {"message": "out of memory"}}])
def test_a_broken_stream(connect: Connect, last: Any) -> None:
    with ScriptedServer(stream(text("Hel"), last)) as server, pytest.raises(GenerationError):
        connect(server).complete("Hi")


def test_a_stream_without_an_end(connect: Connect) -> None:
    with ScriptedServer(stream(text("Hel"), "[DONE]")) as server, pytest.raises(GenerationError, match="finish reason"):
        connect(server).complete("Hi")


def test_nobody_there(connect: Connect) -> None:
    with pytest.raises(EngineOpenError, match="no server answers"):
        connect("http://127.0.0.1:9/v1", retries=0)


def test_a_model_that_is_not_there() -> None:
    with ScriptedServer(FINE) as server, Bay(hardware=machine("epyc_server")) as bay:
        options = {"base_url": server.url, "api_key": None}
        with pytest.raises(EngineOpenError, match="did you mean 'scripted'"):
            bay.generator("remote:scriptedd", backend="openai", fallback=False, options=options)


def test_a_key_from_the_environment(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(FINE) as server:
        with pytest.raises((ConfigError, EngineOpenError), match="NO_SUCH_KEY"):
            connect(server, api_key="env:NO_SUCH_KEY")
        monkeypatch.setenv("A_KEY", "from-the-environment")
        connect(server, api_key="env:A_KEY").complete("Hi")
        assert server.headers[-1]["Authorization"] == "Bearer from-the-environment"


def test_the_key_is_in_no_repr_and_no_decision(connect: Connect) -> None:
    with ScriptedServer(FINE) as server:
        handle = connect(server)
        assert "secret-of-a-test" not in repr(handle) + handle.decision.model_dump_json()


def test_hanging_up_on_cancel(connect: Connect) -> None:
    with ScriptedServer(stream(*[text("word ")] * 400, pause=0.02)) as server:
        with connect(server).stream("Hi") as chunks:
            next(iter(chunks))
        assert server.hung_up.wait(5)


def test_hanging_up_when_the_task_is_cancelled(connect: Connect) -> None:
    with ScriptedServer(stream(*[text("word ")] * 400, pause=0.02)) as server:
        handle = connect(server)

        async def cancelled() -> None:
            task = asyncio.ensure_future(handle.acomplete("Hi"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        assert server.hung_up.wait(5)


def test_closing_while_it_generates(connect: Connect) -> None:
    with ScriptedServer(stream(*[text("word ")] * 400, pause=0.02)) as server:
        handle = connect(server)
        chunks = handle.stream("Hi")
        next(iter(chunks))
        handle.engine.close()
        with pytest.raises(EngineClosedError):
            list(chunks)


def test_each_kind_of_server_takes_its_own(connect: Connect) -> None:
    with ScriptedServer(FINE) as server:
        with pytest.raises(UnsupportedParameterError, match="top_k"):
            connect(server, "openai").complete("Hi", top_k=5)
        connect(server, "openai_vllm", api_key=None).complete("Hi", top_k=5, regex="[a-z]+")
        assert server.requests[-1]["top_k"] == 5
        assert server.requests[-1]["structured_outputs"] == {"regex": "[a-z]+"}
        with pytest.raises(InvalidParameterError, match="20"):
            connect(server, "openai").complete("Hi", logprobs=50)
