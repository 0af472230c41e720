"""A conversation: it remembers what fits, says what it forgets, and survives a failure unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from enginebay.errors import ContextLengthError, GenerationError, InvalidParameterError
from enginebay.tasks import Conversation, Message

Scripted = Callable[..., Any]


def test_it_remembers(scripted: Scripted) -> None:
    handle, engine = scripted("one", "two", system="configured")
    talk = Conversation(handle, system="Be brief.", max_tokens=10)
    assert talk.say("a").text == "one"
    assert talk.say("b").left_out == ()
    assert engine.prompts[-1] == "[system]Be brief.[user]a[assistant]one[user]b[assistant]"
    assert [message.content for message in talk.messages] == ["a", "one", "b", "two"]
    assert Conversation(handle).system == "configured"
    again = Conversation(handle, messages=[{"role": "system", "content": "s"}, *talk.messages])
    again.say("c")
    assert engine.prompts[-1].startswith("[system]s[user]a[assistant]one[user]b[assistant]two[user]c")


def test_the_oldest_turns_are_dropped_whole_and_named(scripted: Scripted) -> None:
    handle, engine = scripted(lambda prompt: "ok", context=120)
    talk = Conversation(handle, system="s", max_tokens=10)
    left_out: list[Message] = []
    for place in range(12):
        turn = talk.say(f"message {place}")
        left_out += turn.left_out
        assert len(turn.left_out) % 2 == 0
        assert len(engine.prompts[-1]) <= 110
        assert engine.prompts[-1].startswith("[system]s[user]message"), "a turn begins with what the user says"
    assert tuple(left_out) == talk.forgotten
    assert len(left_out) + len(talk.messages) == 24
    assert talk.forgotten[0].content == "message 0"
    assert talk.summary is None


def test_the_oldest_turns_are_summarised(scripted: Scripted) -> None:
    def answer(prompt: str) -> str:
        return "SUM" if "Summarise" in prompt else "ok"

    handle, engine = scripted(answer, context=900)
    talk = Conversation(handle, system="s", when_full="summarise", max_tokens=20)
    turns = [talk.say(f"this is the long message number {place}") for place in range(40)]
    full = next(turn for turn in turns if turn.left_out)
    assert (full.text, full.summary, talk.summary, len(full.results)) == ("ok", "SUM", "SUM", 2)
    asked = [prompt for prompt in engine.prompts if "Summarise" in prompt]
    assert "user: this is the long message number 0\nassistant: ok" in asked[0]
    assert "What came before: SUM" in asked[1]
    assert engine.prompts[-1].startswith("[system]s\n\nSummary of the earlier conversation:\nSUM[user]")
    assert len(asked) <= 6, "not at every turn"
    assert all(len(prompt) <= 880 for prompt in engine.prompts)


def test_what_goes_may_itself_be_beyond_the_context(scripted: Scripted) -> None:
    handle, engine = scripted(lambda prompt: "brief" if "Summarise" in prompt else "ok", context=500)
    history = [Message(role="user", content="word " * 400), Message(role="assistant", content="ok")]
    talk = Conversation(handle, when_full="summarise", messages=history, max_tokens=20)
    turn = talk.say("and now?")
    assert (turn.text, turn.summary, len(turn.left_out)) == ("ok", "brief", 2)
    assert len(turn.results) == len(engine.requests) > 3


def test_a_failure_changes_nothing(scripted: Scripted) -> None:
    def answer(prompt: str) -> str:
        if "break" in prompt:
            raise RuntimeError("broke")
        return "ok"

    handle, engine = scripted(answer, context=120)
    talk = Conversation(handle, max_tokens=10)
    talk.say("a")
    before = talk.messages
    with pytest.raises(GenerationError, match="broke"):
        talk.say("break")
    with pytest.raises(ContextLengthError):
        talk.say("x" * 120)
    assert talk.messages == before
    summarising = Conversation(handle, when_full="summarise", messages=list(before), max_tokens=10)
    count = len(engine.requests)
    with pytest.raises(ContextLengthError):
        summarising.say("x" * 120)
    assert len(engine.requests) == count, "nothing is summarised for a text that does not fit"
    with pytest.raises(InvalidParameterError, match="neither"):
        Conversation(handle, when_full="forget")  # type: ignore[arg-type]


def test_async(scripted: Scripted) -> None:
    handle, _ = scripted("one", "two")
    talk = Conversation(handle)

    async def main() -> str:
        await talk.asay("a")
        return (await talk.asay("b")).text

    assert asyncio.run(main()) == "two"
    assert len(talk.messages) == 4
