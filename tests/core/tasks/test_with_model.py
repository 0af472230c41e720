"""Tasks on the real SmolLM2, in a small context."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from enginebay import Bay, FinishReason, tasks
from enginebay.errors import ContextLengthError
from enginebay.generation.handle import GeneratorHandle
from enginebay.prompts.budget import Budget
from enginebay.prompts.messages import as_messages
from enginebay.tasks import Conversation, Example, FewShot

pytestmark = pytest.mark.model

GREEDY = {"temperature": 0, "max_tokens": 40}
TOPICS = [
    Example(input="He ran a marathon.", output="sport"),
    Example(input="Fry the onions in butter.", output="cooking"),
]
STORY = """Maria Lopez founded a bakery in Lisbon in 1998. The bakery sold bread to the whole street.

In 2005 the bakery moved to a larger house near the river. Maria hired four bakers and bought a new oven.

"""


class Person(BaseModel):
    name: str
    age: int
    city: str


@pytest.fixture(scope="module")
def handle(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GeneratorHandle]:
    """The real model in a context of 512 tokens."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CACHE", "DATA", "CONFIG"):
            patch.setenv(f"ENGINEBAY_{kind}_DIR", str(tmp_path_factory.mktemp("model")))
        with Bay() as bay:
            yield bay.generator(str(smollm2_path), backend="xllamacpp", context_length=512)


def test_the_budget_counts_what_the_engine_reads(handle: GeneratorHandle) -> None:
    messages = as_messages("What is the capital of France?")
    result = handle.chat(messages, **GREEDY)
    assert Budget.for_answer(handle, 40).count(messages) == result.usage.prompt_tokens
    with pytest.raises(ContextLengthError):
        tasks.ask(handle, "fox " * 480, **GREEDY)


def test_classify(handle: GeneratorHandle) -> None:
    texts = {"The striker scored two goals in the final match.": "sport", "Boil the pasta, then add garlic.": "cooking"}
    for labels in (["sport", "cooking"], ["cooking", "sport"]):
        for text, label in texts.items():
            found = tasks.classify(handle, text, labels, examples=TOPICS, **GREEDY)
            assert (found.label, found.constrained, found.left_out) == (label, True, ())


def test_extract(handle: GeneratorHandle) -> None:
    found = tasks.extract(handle, "Anna Smith is 34 years old and lives in Berlin.", Person, **GREEDY)
    assert found.value == Person(name="Anna Smith", age=34, city="Berlin")
    assert found.constrained


def test_summarise_beyond_the_context(handle: GeneratorHandle) -> None:
    text = STORY * 10
    assert len(handle.tokenize(text)) > handle.context_length
    short = {"temperature": 0, "max_tokens": 24}
    summary = tasks.summarise(handle, text, **short)
    assert "bakery" in summary.text
    assert summary.pieces[0] > 1
    assert len(summary.text) < len(STORY)
    assert all(result.usage.prompt_tokens + 24 <= 512 for result in summary.results)
    twin = asyncio.run(tasks.asummarise(handle, text, **short))
    assert (twin.pieces, len(twin.results)) == (summary.pieces, len(summary.results))


def test_few_shot_and_what_is_left_out(handle: GeneratorHandle) -> None:
    examples = [
        Example(input=f"{word} " * 30, output=word) for word in ("fox", "dog", "cat", "cow", "pig", "hen", "owl")
    ]
    reply = tasks.ask(handle, "bee " * 30, FewShot(examples * 3), **GREEDY)
    assert reply.left_out
    assert reply.text.startswith("bee")


def test_a_conversation_beyond_the_context(handle: GeneratorHandle) -> None:
    history = [
        {"role": role, "content": f"Here is something about foxes and the number {place}. " * 3}
        for place in range(8)
        for role in ("user", "assistant")
    ]
    talk = Conversation(handle, when_full="summarise", messages=history, temperature=0, max_tokens=16)
    turns = [talk.say(f"Tell me something about the number {place}.") for place in range(2)]
    assert turns[0].left_out[0].content == history[0]["content"]
    assert len(turns[0].left_out) % 2 == 0
    assert turns[1].summary == turns[0].summary == talk.summary
    assert talk.summary
    for turn in turns:
        assert turn.results[-1].usage.prompt_tokens + 16 <= 512
        assert turn.results[-1].finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
