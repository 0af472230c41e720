"""Tasks as streams, on a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from enginebay.prompts.messages import Message
from enginebay.prompts.steps import Chat, Complete, Steps
from enginebay.tasks import Answer
from enginebay.tasks.driver import AnswerStream, AsyncAnswerStream

Scripted = Callable[..., Any]


def steps() -> Steps[Answer]:
    """Two requests whose texts are no part of the answer, then one conversation."""
    first = yield Complete("Go on", {})
    several = yield Chat([[Message(role="user", content=text)] for text in "ab"], {})
    (last,) = yield Chat([[Message(role="user", content="?")]], {})
    return Answer(last.text, (first, *several, last))


def test_single_conversations_are_streamed_and_other_steps_run(scripted: Scripted) -> None:
    answers = ("continued", "one", "two", "the answer")
    handle, _ = scripted(*answers)
    with AnswerStream(handle, steps()) as stream:
        assert list(stream.texts()) == ["the answer"]
    assert stream.answer.text == "the answer"
    assert {result.text for result in stream.answer.results} == set(answers)

    async def twin() -> Answer:
        handle, _ = scripted(*answers)
        async with AsyncAnswerStream(handle, steps()) as stream:
            assert [text async for text in stream.texts()] == ["the answer"]
        return stream.answer

    found = asyncio.run(twin())
    assert {result.text for result in found.results} == set(answers)
