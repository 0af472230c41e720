"""Tool calls: read out of the formats of the field, whatever the model writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.errors import PromptError
from enginebay.prompts.messages import Message, as_messages
from enginebay.prompts.tool_calls import ToolCall, parse_tool_calls

ARGUMENTS = {"city": "Köln", "days": 2}
JSON = json.dumps(ARGUMENTS, ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        f'<tool_call>\n{{"name": "weather", "arguments": {JSON}}}\n</tool_call>',
        f'<tool_call>{{"name": "weather", "arguments": {JSON}}}',
        f'<tool_call>{{"name": "weather", "arguments": {json.dumps(JSON)}}}</tool_call>',
        f'{{"name": "weather", "parameters": {JSON}}}',
        f'<|python_tag|>{{"type": "function", "name": "weather", "parameters": {JSON}}}<|eom_id|>',
        f'[TOOL_CALLS] [{{"name": "weather", "arguments": {JSON}, "id": "123456789"}}]',
        f' [{{"name": "weather", "arguments": {JSON}}}]',
        f"[TOOL_CALLS]weather[ARGS]{JSON}",
        f"[TOOL_CALLS]weather[CALL_ID]123456789[ARGS]{JSON}",
        f"weather[ARGS]{JSON}",
    ],
)
def test_the_formats_of_the_field(text: str) -> None:
    parsed = parse_tool_calls(text)
    assert [(call.name, call.arguments) for call in parsed.calls] == [("weather", ARGUMENTS)]
    assert (parsed.content, parsed.broken) == ("", ())


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>\n<tool_call>{"name": "b", "arguments": {}}</tool_call>',
        '[TOOL_CALLS] [{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]',
        "[TOOL_CALLS]a[ARGS]{}[TOOL_CALLS]b[ARGS]{}",
        '{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}',
        '{"name": "a", "parameters": {}}\n{"name": "b", "parameters": {}}',
    ],
)
def test_several_calls_have_ids_of_nine_letters_and_digits(text: str) -> None:
    parsed = parse_tool_calls(text, first=3)
    assert [(call.name, call.id) for call in parsed.calls] == [("a", "call00003"), ("b", "call00004")]


def test_text_around_a_call_is_the_content() -> None:
    parsed = parse_tool_calls('Let me see.\n<tool_call>{"name": "a", "arguments": {}}</tool_call>')
    assert (parsed.content, len(parsed.calls)) == ("Let me see.", 1)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("<tool_call>{oops}</tool_call>", "{oops}"),
        ('<tool_call>{"arguments": {}}</tool_call>', '{"arguments": {}}'),
        ('<tool_call>{"name": "a", "arguments": [1]}</tool_call>', '{"name": "a", "arguments": [1]}'),
        ('<tool_call>{"name": "a", "arguments": {"x": NaN}}</tool_call>', '{"name": "a", "arguments": {"x": NaN}}'),
        ('[TOOL_CALLS] [{"name"', '[{"name"'),
        ("[TOOL_CALLS]a[ARGS]{", "a[ARGS]{"),
        ('<|python_tag|>{"name": "a", "param', '{"name": "a", "param'),
    ],
)
def test_what_was_meant_as_a_call_and_is_none_is_not_hidden(text: str, piece: str) -> None:
    parsed = parse_tool_calls(text)
    assert (parsed.calls, parsed.broken) == ((), (piece,))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        '{"name": "Anna", "age": 3}',
        '{"name": "a", "parameters": {}, "age": 3}',
        "[1, 2]",
        '{"x": 1} is it',
    ],
)
def test_an_answer_is_no_call(text: str) -> None:
    assert parse_tool_calls(text).content == text
    assert not parse_tool_calls(text).calls


PIECES = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", '{"name": "a", "arguments": {}}',
          '{"name":', '"parameters"', "[", "]", "{", "}", "a", " ", "\n", ";", '"', "\\ud800"]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=12).map("".join))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parsed = parse_tool_calls(text)
    for call in parsed.calls:
        json.dumps(call.model_dump(), ensure_ascii=False).encode()
    if not parsed.calls and not parsed.broken and "<tool_call>" not in text and "[TOOL_CALLS]" not in text:
        assert parsed.content == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), min_size=1, max_size=3))
def test_every_format_gives_the_arguments_back(given_arguments: list[dict[str, Any]]) -> None:
    encoded = [json.dumps({"name": "f", "arguments": arguments}) for arguments in given_arguments]
    named = [f"[TOOL_CALLS]f[ARGS]{json.dumps(arguments)}" for arguments in given_arguments]
    for text in (
        "".join(f"<tool_call>{one}</tool_call>" for one in encoded),
        f"[TOOL_CALLS] [{', '.join(encoded)}]",
        "\n".join(encoded),
        "".join(named),
    ):
        parsed = parse_tool_calls(text)
        assert [call.arguments for call in parsed.calls] == given_arguments, text
        assert not parsed.broken


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "<tool_call>" * 20_000, "[TOOL_CALLS]" * 20_000])
def test_depth_and_length_do_no_harm(text: str) -> None:
    assert not parse_tool_calls(text).calls


def test_a_call_is_dumped_as_templates_expect() -> None:
    call = ToolCall(name="f", arguments={"x": 1})
    dumped = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert call.model_dump() == dumped
    assert ToolCall.model_validate(dumped) == call
    as_text = {"id": "abc", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    assert ToolCall.model_validate(as_text) == ToolCall(name="f", arguments={"x": 1}, id="abc")


def test_messages_with_calls() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    (said,) = as_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert said.model_dump() == {"role": "assistant", "content": "", "tool_calls": [call]}
    told = Message(role="tool", content="7", tool_call_id="abc", name="f")
    assert Message.model_validate(told.model_dump()) == told
    assert Message(role="user", content="x").model_dump() == {"role": "user", "content": "x"}
    for wrong in (
        {"role": "user", "content": "x", "tool_calls": [call]},
        {"role": "user", "content": "x", "tool_call_id": "abc"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]},
    ):
        with pytest.raises(PromptError, match="message 0"):
            as_messages([wrong])
