"""Letting a model call tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from enginebay.errors import InvalidParameterError, UnsupportedFeatureError
from enginebay.prompts.messages import Message, Messages, as_messages
from enginebay.prompts.steps import RunTool, Steps
from enginebay.prompts.tool_calls import ParsedText, parse_tool_calls
from enginebay.prompts.tools import Tool
from enginebay.tasks.answers import ToolAnswer
from enginebay.tasks.driver import arun, begin, run
from enginebay.tasks.tool_use import ToolUse

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result

Tools = Sequence[Tool | Callable[..., Any]]
"""Tools, or functions to make them of (`Tool.from_function`)."""


def run_tools(
    handle: GeneratorHandle, messages: Messages, tools: Tools, *, max_rounds: int = 5, **sampling: Any
) -> ToolAnswer:
    """Answer a conversation, running the tools that the model asks for and telling it what they gave.

    Arguments that do not fit, unknown tools, and what a tool raises are told to the model as that tool's error, and
    stand in `uses`.

    Args:
        max_rounds: how often the model may ask for tools; after that its last text is given as it is, and `finished`
            is False.

    Raises:
        UnsupportedFeatureError: the model's chat template knows no tools, or a tool is async.
        ContextLengthError: the conversation with what the tools gave does not fit.
        InvalidParameterError: two tools have one name, or a function makes no tool.
        Beside these, what `GeneratorHandle.chat` raises.
    """
    made = as_tools(tools)
    for tool in made:
        if tool.is_async:
            raise UnsupportedFeatureError(
                f"the tool {tool.name!r} is async", value=tool.name, hint="use arun_tools in place of run_tools"
            )
    return run(handle, _steps(handle, messages, made, max_rounds, sampling))


async def arun_tools(
    handle: GeneratorHandle, messages: Messages, tools: Tools, *, max_rounds: int = 5, **sampling: Any
) -> ToolAnswer:
    """Async twin of `run_tools`: async tools are awaited, the others run in a worker thread."""
    return await arun(handle, _steps(handle, messages, as_tools(tools), max_rounds, sampling))


def as_tools(tools: Tools) -> tuple[Tool, ...]:
    """The tools, functions made into some.

    Raises:
        InvalidParameterError: two have one name, or a function makes no tool.
    """
    made = tuple(tool if isinstance(tool, Tool) else Tool.from_function(tool) for tool in tools)
    names = [tool.name for tool in made]
    for name in names:
        if names.count(name) > 1:
            raise InvalidParameterError(f"two tools have the name {name!r}", value=name)
    return made


def _steps(
    handle: GeneratorHandle, messages: Messages, tools: tuple[Tool, ...], max_rounds: int, sampling: dict[str, Any]
) -> Steps[ToolAnswer]:
    setup = begin(handle, None, sampling)
    history = as_messages(messages, handle.system)
    results: list[Result] = []
    uses: list[ToolUse] = []
    while True:
        setup.budget.check(history, tools)
        result = yield from setup.chat(history, tools)
        results.append(result)
        parsed = parse_tool_calls(result.text, first=len(uses)) if tools else ParsedText(result.text)
        asks = bool(parsed.calls or parsed.broken)
        if not asks or len(results) > max_rounds:
            history.append(Message(role="assistant", content=parsed.content or result.text))
            text = parsed.content if asks else result.text
            return ToolAnswer(text.strip(), tuple(results), (), tuple(history), tuple(uses), finished=not asks)
        round_uses = yield from _use(parsed, {tool.name: tool for tool in tools})
        uses += round_uses
        history += _told(result, parsed, round_uses)


def _use(parsed: ParsedText, tools: dict[str, Tool]) -> Steps[list[ToolUse]]:
    uses: list[ToolUse] = []
    for call in parsed.calls:
        tool = tools.get(call.name)
        uses.append(ToolUse.unknown(call, tools) if tool is None else (yield RunTool(tool, call)))
    return uses


def _told(result: Result, parsed: ParsedText, uses: list[ToolUse]) -> list[Message]:
    """The messages of one round. Many templates want roles to alternate: calls that cannot be read are told in the last
    tool's message where there is one, else by the user."""
    note = "\n".join(f"error: this tool call is no valid JSON: {piece}" for piece in parsed.broken)
    if not uses:
        return [Message(role="assistant", content=result.text), Message(role="user", content=note)]
    said = Message(role="assistant", content=parsed.content, tool_calls=parsed.calls)
    return [said, *(use.message() for use in uses[:-1]), uses[-1].message(note)]
