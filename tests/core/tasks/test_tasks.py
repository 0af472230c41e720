"""Tasks on a fake engine: what they ask, what they make of the answer, what they leave out and refuse."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from datetime import date
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, field_validator

from enginebay import Feature, FinishReason, paths, tasks
from enginebay.errors import (
    ContextLengthError,
    GenerationError,
    InvalidParameterError,
    PromptError,
    UnsupportedFeatureError,
)
from enginebay.prompts.library import PromptLibrary
from enginebay.tasks import (
    ChainOfThought,
    Example,
    FewShot,
    Passage,
    RetrievalAugmented,
    ZeroShot,
    ZeroShotChainOfThought,
)
from fake_engine import FakeGenerator, fake_handle

Scripted = Callable[..., Any]
EXAMPLES = [Example(input=f"in{place}", output=f"out{place}", reasoning=f"because{place}.") for place in range(4)]
TEXT = "\n\n".join(f"Paragraph {place} has one sentence. And it has a second one." for place in range(40))


class Person(BaseModel):
    name: str
    born: date

    @field_validator("name")
    @classmethod
    def _capital(cls, value: str) -> str:
        if not value[:1].isupper():
            raise ValueError("a name begins with a capital")
        return value


ANNA = '{"name": "Anna", "born": "1990-05-01"}'


def test_ask(scripted: Scripted) -> None:
    handle, engine = scripted(" yes\n", system="Be brief.")
    reply = tasks.ask(handle, "Is it?", ZeroShot("Answer yes or no."), max_tokens=8, temperature=0.5)
    assert (reply.text, str(reply), reply.left_out) == ("yes", "yes", ())
    assert engine.prompts == ["[system]Be brief.[user]Answer yes or no.\n\nIs it?[assistant]"]
    assert engine.requests[0].params.temperature == 0.5
    assert reply.usage.prompt_tokens == len(engine.prompts[0])
    assert tasks.ask(handle, "Is it?").text == "yes"
    with pytest.raises(InvalidParameterError, match="did you mean 'temperature'"):
        tasks.ask(handle, "Is it?", temprature=1)


def test_prompt_files_of_the_user_are_used(scripted: Scripted) -> None:
    folder = paths.config_dir() / "prompts"
    folder.mkdir(parents=True)
    (folder / "zero_shot.jinja").write_text("MINE {{ question }}")
    handle, engine = scripted("x")
    tasks.ask(handle, "a")
    tasks.ask(handle, "a", library=PromptLibrary(folder=folder / "none"))
    assert engine.prompts == ["[user]MINE a[assistant]", "[user]a[assistant]"]


def test_few_shot_takes_the_first_or_the_nearest(scripted: Scripted) -> None:
    handle, engine = scripted("x")
    tasks.ask(handle, "q", FewShot(EXAMPLES, k=2, instruction="Do."))
    assert engine.prompts[-1] == ("[user]Do.\n\nin0[assistant]out0[user]in1[assistant]out1[user]q[assistant]")

    def embed(texts: list[str]) -> np.ndarray[Any, Any]:
        vectors = {"q": (1, 0), "in0": (-1, 0), "in1": (2, 1), "in2": (0, 3), "in3": (3, 0)}
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    tasks.ask(handle, "q", FewShot(EXAMPLES, k=2, embed=embed))
    shown = engine.prompts[-1]
    assert "in0" not in shown
    assert "in2" not in shown
    assert shown.index("in1") < shown.index("in3"), "the nearest stands last"
    with pytest.raises(PromptError, match=r"shape \(2,\)"):
        tasks.ask(handle, "q", FewShot(EXAMPLES, embed=lambda texts: np.ones(2)))


def test_few_shot_leaves_out_whole_examples_and_says_so(scripted: Scripted) -> None:
    handle, engine = scripted("x", context=130)
    reply = tasks.ask(handle, "q", FewShot(EXAMPLES), max_tokens=20)
    assert reply.left_out == tuple(EXAMPLES[3:])
    assert len(engine.prompts[0]) <= 110
    assert "out2" in engine.prompts[0]
    long = Example(input="x" * 100, output="y")
    reply = tasks.ask(handle, "q", FewShot([long, *EXAMPLES[:1]]), max_tokens=20)
    assert reply.left_out == (long,)
    with pytest.raises(ContextLengthError, match="the prompt has 117 tokens") as caught:
        tasks.ask(handle, "q" * 100, FewShot(EXAMPLES), max_tokens=20)
    assert "20 tokens are kept for the answer" in str(caught.value)


def test_chain_of_thought(scripted: Scripted) -> None:
    handle, engine = scripted("Two and two. The answer is 4.")
    reply = tasks.ask(handle, "2 + 2?", ChainOfThought(EXAMPLES, k=1))
    assert (reply.text, reply.reasoning) == ("4", "Two and two.")
    assert "\n\nin0[assistant]because0. The answer is out0.[user]2 + 2?[assistant]" in engine.prompts[0]
    handle, _ = scripted("I do not know.")
    with pytest.raises(GenerationError, match="no answer after") as caught:
        tasks.ask(handle, "2 + 2?", ChainOfThought(EXAMPLES))
    assert caught.value.partial_text == "I do not know."


def test_zero_shot_chain_of_thought(scripted: Scripted) -> None:
    handle, engine = scripted("Two and two make four.", "4")
    strategy = ZeroShotChainOfThought(answer_format="arabic numerals", answer_tokens=10)
    reply = tasks.ask(handle, "2 + 2?", strategy, max_tokens=30)
    assert (reply.text, reply.reasoning, len(reply.results)) == ("4", "Two and two make four.", 2)
    assert engine.prompts == [
        "[user]2 + 2?\n\nLet's think step by step.[assistant]",
        "[user]2 + 2?\n\nLet's think step by step.[assistant]Two and two make four.[user]"
        "Therefore, the answer (arabic numerals) is[assistant]",
    ]
    assert [request.params.max_tokens for request in engine.requests] == [30, 10]
    handle, engine = scripted("x", context=130)
    with pytest.raises(ContextLengthError):
        tasks.ask(handle, "2 + 2?", strategy, max_tokens=30)
    assert not engine.requests, "refused before anything is spent"


def test_retrieval_augmented(scripted: Scripted) -> None:
    handle, engine = scripted("x", context=220)
    reply = tasks.ask(handle, "q?", RetrievalAugmented(["a" * 20, "b" * 200, "c" * 5]), max_tokens=20)
    assert reply.left_out == (Passage(text="b" * 200),)
    assert f"[1] {'a' * 20}\n\n[2] ccccc\n" in engine.prompts[0]
    with pytest.raises(ContextLengthError):
        tasks.ask(handle, "q?", RetrievalAugmented(["b" * 200]), max_tokens=20)


def test_complete_takes_the_text_as_it_stands(scripted: Scripted) -> None:
    handle, engine = scripted(" on and on", context=60)
    assert tasks.complete(handle, "It goes", max_tokens=5).text == " on a"
    assert engine.prompts == ["It goes"]
    with pytest.raises(ContextLengthError, match="57 tokens"):
        tasks.complete(handle, "x" * 56, max_tokens=5)
    with pytest.raises(ContextLengthError, match="47 tokens"):
        tasks.complete(handle, "x" * 46)


def test_translate(scripted: Scripted) -> None:
    handle, engine = scripted(" Guten Tag ")
    assert tasks.translate(handle, "Good day", "German", source="English").text == "Guten Tag"
    assert "from English to German" in engine.prompts[0]
    with pytest.raises(ContextLengthError):
        tasks.translate(handle, "x" * 2000, "German")


def test_summarise_a_text_that_fits(scripted: Scripted) -> None:
    handle, engine = scripted("Short.")
    summary = tasks.summarise(handle, "A long text.", words=5, focus="foxes")
    assert (summary.text, summary.pieces) == ("Short.", ())
    assert "in at most 5 words, with regard to foxes." in engine.prompts[0]
    with pytest.raises(PromptError, match="no text"):
        tasks.summarise(handle, " \n")


def test_summarise_beyond_the_context(scripted: Scripted) -> None:
    handle, engine = scripted(lambda prompt: "So much, said briefly here.", context=400)
    summary = tasks.summarise(handle, TEXT, max_tokens=40)
    assert summary.text == "So much, said briefly here."
    assert len(summary.pieces) >= 2, "the summaries themselves were too long and were summarised again"
    assert len(summary.results) == sum(summary.pieces) + 1 == len(engine.requests)
    assert all(
        len(prompt) + request.params.max_tokens <= 400
        for prompt, request in zip(engine.prompts, engine.requests, strict=True)
    )
    first = [prompt for prompt in engine.prompts if "Paragraph" in prompt]
    seen = "".join(
        prompt.partition("Text:\n")[2].removesuffix("[assistant]") for prompt in sorted(first, key=engine.prompts.index)
    )
    assert all(f"Paragraph {place} has one sentence. And it has a second one." in seen for place in range(40))
    assert all(prompt.removesuffix("[assistant]").endswith("second one.") for prompt in first)


def test_summaries_that_do_not_shrink_end(scripted: Scripted) -> None:
    handle, _ = scripted("", context=400)
    with pytest.raises(GenerationError, match="empty"):
        tasks.summarise(handle, TEXT, max_tokens=40)
    handle, engine = scripted(lambda prompt: "x" * 1000, context=330)
    with pytest.raises(GenerationError, match="no shorter"):
        tasks.summarise(handle, TEXT, max_tokens=240)
    assert len(engine.requests) < 200
    handle, engine = scripted("x", context=100)
    with pytest.raises(ContextLengthError):
        tasks.summarise(handle, TEXT, max_tokens=50)
    assert not engine.requests


def test_classify_is_held_to_the_labels_where_it_can_be(scripted: Scripted) -> None:
    handle, engine = scripted("good", features=frozenset({Feature.CHOICES}))
    found = tasks.classify(
        handle, "Nice!", {"good": "praise", "bad": ""}, examples=[Example(input="Ugh", output="bad")]
    )
    assert (found.label, found.constrained) == ("good", True)
    params = engine.requests[0].params
    assert params.constraint is not None
    assert params.constraint.choices == ("good", "bad")
    assert (params.temperature, params.max_tokens) == (0, 20), "greedy, room for the longest label"
    assert "- good: praise\n- bad\n\nUgh[assistant]bad[user]Nice![assistant]" in engine.prompts[0]
    tasks.classify(handle, "Nice!", ["good", "bad"], temperature=0.5, max_tokens=4)
    assert (engine.requests[1].params.temperature, engine.requests[1].params.max_tokens) == (0.5, 4)
    with pytest.raises(GenerationError, match="none of the labels") as caught:
        tasks.classify(handle, "Nice!", ["good", "bad"], max_tokens=3)
    assert caught.value.hint == "raise max_tokens"
    with pytest.raises(InvalidParameterError, match="take 'regex' away"):
        tasks.classify(handle, "Nice!", ["good", "bad"], regex="x")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("good", "good"),
        (' "Good".\n', "good"),
        ("**bad**\nI say so for good reasons.", "bad"),
        ("I would call this bad", "bad"),
        ("It is Very Good indeed", "very good"),
        ("goodness", None),
        ("good or bad", None),
        ("", None),
    ],
)
def test_classify_out_of_free_text(scripted: Scripted, answer: str, label: str | None) -> None:
    handle, engine = scripted(answer)
    if label is not None:
        found = tasks.classify(handle, "Nice!", ["good", "very good", "bad"], max_tokens=99)
        assert (found.label, found.constrained) == (label, False)
        assert engine.requests[0].params.constraint is None
        return
    with pytest.raises(GenerationError, match=r"names (none|more than one)") as caught:
        tasks.classify(handle, "Nice!", ["good", "very good", "bad"], max_tokens=99)
    assert caught.value.partial_text == answer


@pytest.mark.parametrize("labels", ["good", ["good"], ["good", "Good"], ["good", ""], []])
def test_labels_are_checked(scripted: Scripted, labels: Any) -> None:
    handle, _ = scripted("x")
    with pytest.raises(InvalidParameterError, match="labels"):
        tasks.classify(handle, "x", labels)
    with pytest.raises(InvalidParameterError, match="'ugly'"):
        tasks.classify(handle, "x", ["good", "bad"], examples=[Example(input="x", output="ugly")])


def test_extract_is_held_to_the_schema_where_it_can_be(scripted: Scripted) -> None:
    handle, engine = scripted(ANNA, features=frozenset({Feature.JSON_SCHEMA}))
    found = tasks.extract(handle, "Anna, born on 1 May 1990.", Person)
    assert found.value == Person(name="Anna", born=date(1990, 5, 1))
    assert found.constrained
    constraint = engine.requests[0].params.constraint
    assert constraint is not None
    assert constraint.json_schema is not None
    assert set(constraint.json_schema["properties"]) == {"name", "born"}
    assert '"format": "date"' in engine.prompts[0]


def test_extract_out_of_free_text_and_again_when_it_is_invalid(scripted: Scripted) -> None:
    handle, engine = scripted('Sure: {"name": "anna", "born": "1990-05-01"}', f"```json\n{ANNA}\n```")
    found = tasks.extract(handle, "Anna, born on 1 May 1990.", Person)
    assert found.value.name == "Anna"
    assert (found.constrained, len(found.results)) == (False, 2)
    assert "name: Value error, a name begins with a capital" in engine.prompts[1]
    handle, engine = scripted("No idea.")
    with pytest.raises(GenerationError, match="not valid: Expecting value") as caught:
        tasks.extract(handle, "Anna", Person)
    assert (caught.value.partial_text, len(engine.requests)) == ("No idea.", 2)
    with pytest.raises(GenerationError):
        tasks.extract(handle, "Anna", Person, retries=0)
    assert len(engine.requests) == 3


def test_extract_does_not_ask_again_for_what_cannot_come(scripted: Scripted) -> None:
    handle, engine = scripted(ANNA)
    with pytest.raises(GenerationError, match="cut off") as caught:
        tasks.extract(handle, "Anna", Person, max_tokens=10)
    assert (len(engine.requests), caught.value.hint) == (1, "raise max_tokens")
    handle, engine = scripted("x" * 90, context=600)
    with pytest.raises(GenerationError, match="not valid"):
        tasks.extract(handle, "Anna" * 10, Person, max_tokens=100)
    assert len(engine.requests) == 1, "the second question would not fit"


def test_extract_json_needs_an_engine_that_can_be_held(scripted: Scripted) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    handle, _ = scripted('{"a": 1}', features=frozenset({Feature.JSON_SCHEMA}))
    assert tasks.extract_json(handle, "x", schema).value == {"a": 1}
    handle, _ = scripted('{"a": 1}')
    with pytest.raises(UnsupportedFeatureError, match="JSON schema"):
        tasks.extract_json(handle, "x", schema)


def test_answer_with_citations(scripted: Scripted) -> None:
    handle, engine = scripted("Paris [1], and [2, 7].", context=500)
    passages = [{"id": "a", "text": "Paris."}, "x" * 500, {"id": "c", "text": "Rome."}]
    answer = tasks.answer_with_citations(handle, "Where?", passages, max_tokens=30)
    assert [(one.number, one.passage, one.id) for one in answer.citations] == [(1, 0, "a"), (2, 2, "c")]
    assert answer.unknown == (7,)
    assert answer.left_out == (Passage(text="x" * 500),)
    assert "[1] Paris.\n\n[2] Rome.\n" in engine.prompts[0]
    with pytest.raises(PromptError, match="no passages"):
        tasks.answer_with_citations(handle, "Where?", [])
    with pytest.raises(ContextLengthError):
        tasks.answer_with_citations(handle, "Where?", ["x" * 500], max_tokens=30)


def test_what_was_cut_off_is_told(scripted: Scripted) -> None:
    handle, _ = scripted("long answer")
    assert tasks.translate(handle, "x", "y", max_tokens=4).results[-1].finish_reason is FinishReason.LENGTH


Call = Callable[[Any, Any], Any]
CALLS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Coroutine[Any, Any, Any]]]] = {
    "ask": (
        lambda h: tasks.ask(h, "q", FewShot(EXAMPLES), max_tokens=9),
        lambda h: tasks.aask(h, "q", FewShot(EXAMPLES), max_tokens=9),
    ),
    "complete": (lambda h: tasks.complete(h, "q"), lambda h: tasks.acomplete(h, "q")),
    "summarise": (
        lambda h: tasks.summarise(h, TEXT, max_tokens=30),
        lambda h: tasks.asummarise(h, TEXT, max_tokens=30),
    ),
    "translate": (lambda h: tasks.translate(h, "q", "German"), lambda h: tasks.atranslate(h, "q", "German")),
    "classify": (lambda h: tasks.classify(h, "q", ["1", "2"]), lambda h: tasks.aclassify(h, "q", ["1", "2"])),
    "answer_with_citations": (
        lambda h: tasks.answer_with_citations(h, "q", ["a"]),
        lambda h: tasks.aanswer_with_citations(h, "q", ["a"]),
    ),
    "run_tools": (
        lambda h: tasks.run_tools(h, "q", []),
        lambda h: tasks.arun_tools(h, "q", []),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_async_twin_does_the_same(scripted: Scripted, name: str) -> None:
    blocking, twin = CALLS[name]
    handle, engine = scripted("[1]", context=500)
    other_handle, other_engine = scripted("[1]", context=500)
    first, second = blocking(handle), asyncio.run(twin(other_handle))
    assert type(first) is type(second)
    assert first.text == second.text
    assert first.left_out == second.left_out
    assert sorted(engine.prompts) == sorted(other_engine.prompts)


def test_every_function_has_a_twin_with_the_same_parameters() -> None:
    twins = [name for name in tasks.__all__ if f"a{name}" in tasks.__all__]
    assert set(CALLS) | {"extract", "extract_json"} == set(twins)
    for name in twins:
        blocking, twin = getattr(tasks, name), getattr(tasks, f"a{name}")
        assert inspect.signature(blocking) == inspect.signature(twin)
        assert inspect.iscoroutinefunction(twin)


def test_async_extract_and_a_failure_in_one_of_many(scripted: Scripted) -> None:
    handle, _ = scripted(ANNA)
    assert asyncio.run(tasks.aextract(handle, "Anna", Person)).value.name == "Anna"

    def fails(prompt: str) -> str:
        raise RuntimeError("broke")

    handle, _ = scripted(fails, context=500)
    with pytest.raises(GenerationError, match="broke"):
        asyncio.run(tasks.asummarise(handle, TEXT, max_tokens=30))
    with pytest.raises(GenerationError, match="broke"):
        tasks.summarise(handle, TEXT, max_tokens=30)


def test_cancelling_an_async_task_stops_the_engine() -> None:
    engine = FakeGenerator(["x"] * 100, pause=0.02)
    handle = fake_handle(engine)

    async def main() -> None:
        running = asyncio.create_task(tasks.aask(handle, "q"))
        while not engine.given:
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    given = engine.given
    assert given < 50
    assert engine.running == 0
