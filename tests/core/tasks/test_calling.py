"""Tools on a fake engine: called, answered, refused, and stopped."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from enginebay.errors import ContextLengthError, InvalidParameterError, UnsupportedFeatureError
from enginebay.tasks import Message, Tool, arun_tools, run_tools
from fake_engine import fake_handle

Scripted = Callable[..., Any]


def weather(city: str, days: int = 1) -> dict[str, Any]:
    """The weather of a city."""
    if city == "Atlantis":
        raise LookupError("it sank")
    return {"city": city, "forecast": ["sun"] * days}


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def test_a_call_is_run_and_its_answer_told(scripted: Scripted) -> None:
    handle, engine = scripted("Let me see. " + call("weather", city="Bonn", days="2"), "Sunny in Bonn.", system="s")
    answer = run_tools(handle, "Weather in Bonn?", [weather], max_tokens=200)
    assert (answer.text, answer.finished, len(answer.results)) == ("Sunny in Bonn.", True, 2)
    (use,) = answer.uses
    assert (use.call.name, use.content, use.error) == ("weather", '{"city":"Bonn","forecast":["sun","sun"]}', None)
    assert [message.role for message in answer.messages] == ["system", "user", "assistant", "tool", "assistant"]
    said, told = answer.messages[2:4]
    assert (said.content, said.tool_calls, told.tool_call_id, told.name) == (
        "Let me see.", (use.call,), use.call.id, "weather",
    )  # fmt: skip
    assert '"name": "weather"' in engine.prompts[0]
    assert use.content in engine.prompts[1]
    again = run_tools(handle, [*answer.messages, Message(role="user", content="Thanks.")], [weather])
    assert again.finished


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (call("weather"), "error: weather: city: Missing required argument"),
        (call("weather", city="Bonn", days="many"), "error: weather: days: Input should be a valid integer"),
        (call("wether", city="Bonn"), "error: there is no tool 'wether'; did you mean 'weather'?"),
        (call("weather", city="Atlantis"), "error: LookupError: it sank"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(scripted: Scripted, text: str, told: str) -> None:
    handle, engine = scripted(text, "Sorry.")
    answer = run_tools(handle, "?", [weather])
    assert answer.text == "Sorry."
    assert answer.uses[0].error is not None
    assert answer.messages[2].content.startswith(told)
    assert f"[tool]{told}" in engine.prompts[1]


def test_a_call_that_cannot_be_read_is_told(scripted: Scripted) -> None:
    handle, _ = scripted("<tool_call>{oops}</tool_call>", "Sorry.")
    answer = run_tools(handle, "?", [weather])
    assert [message.role for message in answer.messages] == ["user", "assistant", "user", "assistant"]
    assert answer.messages[2].content == "error: this tool call is no valid JSON: {oops}"
    handle, _ = scripted(call("weather", city="Bonn") + "<tool_call>{oops}", "Sorry.")
    answer = run_tools(handle, "?", [weather])
    assert [message.role for message in answer.messages] == ["user", "assistant", "tool", "assistant"]
    assert answer.messages[2].content.endswith("error: this tool call is no valid JSON: {oops}")


def test_it_stops_after_the_last_round(scripted: Scripted) -> None:
    handle, engine = scripted("Hm. " + call("weather", city="Bonn"))
    answer = run_tools(handle, "?", [weather], max_rounds=2)
    assert (answer.finished, answer.text, len(answer.uses), len(engine.requests)) == (False, "Hm.", 2, 3)
    assert len({use.call.id for use in answer.uses}) == 2
    assert run_tools(handle, "?", [weather], max_rounds=0).uses == ()


def test_several_calls_in_one_round(scripted: Scripted) -> None:
    handle, _ = scripted(call("weather", city="Bonn") + call("weather", city="Rome"), "Both sunny.")
    answer = run_tools(handle, "?", [weather])
    assert [use.call.arguments["city"] for use in answer.uses] == ["Bonn", "Rome"]
    assert [message.tool_call_id for message in answer.messages[2:4]] == ["call00000", "call00001"]


def test_refusals(scripted: Scripted) -> None:
    handle, _ = scripted("x")
    with pytest.raises(InvalidParameterError, match="two tools have the name 'weather'"):
        run_tools(handle, "?", [weather, Tool.from_function(weather)])
    with pytest.raises(UnsupportedFeatureError, match="knows no tools"):
        run_tools(fake_handle(), "?", [weather])
    handle, _ = scripted(call("weather", city="B" * 60), "x", context=500)
    with pytest.raises(ContextLengthError):
        run_tools(handle, "?", [weather], max_tokens=150)


def test_async_tools(scripted: Scripted) -> None:
    threads = []

    async def slow(x: int) -> int:
        await asyncio.sleep(0)
        threads.append(threading.current_thread() is threading.main_thread())
        return 2 * x

    def plain(x: int) -> int:
        threads.append(threading.current_thread() is threading.main_thread())
        return 3 * x

    texts = (call("slow", x=2) + call("plain", x=2) + call("slow", x="no"), "done")
    handle, _ = scripted(*texts)
    answer = asyncio.run(arun_tools(handle, "?", [slow, plain]))
    assert [use.content for use in answer.uses[:2]] == ["4", "6"]
    assert isinstance(answer.uses[2].error, InvalidParameterError)
    assert threads == [True, False], "async ones in the loop, the others in a worker thread"
    handle, _ = scripted(*texts)
    with pytest.raises(UnsupportedFeatureError, match="use arun_tools"):
        run_tools(handle, "?", [slow])
