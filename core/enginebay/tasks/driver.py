"""Running a task's steps: blocking or async, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from enginebay.errors import GenerationError, InvalidParameterError, UnsupportedFeatureError
from enginebay.generation.streams import AsyncChunkStream, ChunkStream
from enginebay.interfaces.generator import Chunk, FinishReason
from enginebay.prompts.budget import Budget
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message
from enginebay.prompts.steps import Chat, Complete, RunTool, Setup, Step, Steps
from enginebay.sampling.plan import CONSTRAINT_KINDS, make_params
from enginebay.spec import Feature
from enginebay.tasks.answers import Answer
from enginebay.tasks.tool_use import ToolUse

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result

T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=Answer)


def begin(
    handle: GeneratorHandle,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
    *,
    most: int | None = None,
    greedy: bool = False,
    constrains: bool = False,
) -> Setup:
    """What a task works with.

    Args:
        most: `max_tokens` for a task with short answers, when neither the call nor the configuration sets it.
        greedy: temperature 0 for a task with one right answer, when neither sets it.
        constrains: the task sets the constraint itself.

    Raises:
        InvalidParameterError: a sampling parameter has an unknown name or an impossible value.
    """
    chosen = dict(sampling)
    known = {**handle.defaults, **sampling}
    if constrains and (given := sorted({"constraint", *CONSTRAINT_KINDS} & sampling.keys())):
        raise InvalidParameterError(f"this task sets the constraint itself; take {given[0]!r} away", value=given[0])
    if most is not None and "max_tokens" not in known:
        chosen["max_tokens"] = most
    if greedy and "temperature" not in known and _has(handle, "temperature"):
        chosen["temperature"] = 0.0
    room = make_params(handle.defaults, chosen).max_tokens
    return Setup(Budget.for_answer(handle, room), library or default_library(), chosen)


def can_constrain(handle: GeneratorHandle, feature: Feature) -> bool:
    """Whether outputs can be held to a constraint: by the engine, or by the core over its logits."""
    return bool({feature, Feature.LOGITS} & handle.spec.features)


def _has(handle: GeneratorHandle, parameter: str) -> bool:
    return parameter in handle.spec.sampling or Feature.LOGITS in handle.spec.features


@cache
def default_library() -> PromptLibrary:
    """The user's prompt files, those of the configured plugins, the built-in ones."""
    return PromptLibrary(plugin_templates=_configured_templates)


def _configured_templates() -> tuple[tuple[str, str], ...]:
    from enginebay.config import load_settings
    from enginebay.plugins import load_plugins

    chosen = load_settings().settings.plugins
    return load_plugins(allow=chosen.allow, deny=chosen.deny).prompt_templates()


@dataclass(frozen=True, slots=True)
class _Ended(Generic[T]):
    value: T


def _advance(steps: Steps[T], outcome: Any) -> Step | _Ended[T]:
    """The next step; an end is a value, for StopIteration cannot leave a worker thread."""
    try:
        return steps.send(outcome)
    except StopIteration as end:
        return _Ended(end.value)


def run(handle: GeneratorHandle, steps: Steps[T]) -> T:
    """Run a task in this thread."""
    step = _advance(steps, None)
    while not isinstance(step, _Ended):
        step = _advance(steps, _do(handle, step))
    return step.value


async def arun(handle: GeneratorHandle, steps: Steps[T]) -> T:
    """Run a task without blocking the event loop: rendering and counting happen in a worker thread.

    Cancelling the task stops the engine.
    """
    step = await asyncio.to_thread(_advance, steps, None)
    while not isinstance(step, _Ended):
        step = await asyncio.to_thread(_advance, steps, await _ado(handle, step))
    return step.value


class _WithAnswer(Generic[AnswerT]):
    """What both kinds of answer stream have: the task, and its answer once it has ended."""

    def __init__(self, handle: GeneratorHandle, steps: Steps[AnswerT]) -> None:
        super().__init__()
        self._handle = handle
        self._steps = steps
        self._answer: AnswerT | None = None

    @property
    def answer(self) -> AnswerT:
        """The whole answer, as the blocking task gives it.

        Raises:
            GenerationError: the stream has not been read to its end.
        """
        if self._answer is None:
            raise GenerationError("the stream has not been read to its end")
        return self._answer

    def _ended(self, answer: AnswerT) -> Chunk | None:
        """Keep the answer; one for which no model was asked comes as a chunk of its own."""
        self._answer = answer
        return None if answer.results else Chunk(answer.text, finish_reason=FinishReason.STOP)


class AnswerStream(_WithAnswer[AnswerT], ChunkStream):
    """What the model writes for a task, as it comes; errors come with the first chunk. Then `answer` is there."""

    def _iterate(self) -> Generator[Chunk, None, None]:
        step = _advance(self._steps, None)
        while not isinstance(step, _Ended):
            if isinstance(step, Chat) and len(step.conversations) == 1:
                with self._handle.stream_chat(step.conversations[0], tools=step.tools, **step.sampling) as stream:
                    yield from stream
                outcome: Any = [stream.result]
            else:
                outcome = _do(self._handle, step)
            step = _advance(self._steps, outcome)
        if chunk := self._ended(step.value):
            yield chunk


class AsyncAnswerStream(_WithAnswer[AnswerT], AsyncChunkStream):
    """Async twin of `AnswerStream`."""

    async def _iterate(self) -> AsyncGenerator[Chunk, None]:
        step = await asyncio.to_thread(_advance, self._steps, None)
        while not isinstance(step, _Ended):
            if isinstance(step, Chat) and len(step.conversations) == 1:
                stream = self._handle.astream_chat(step.conversations[0], tools=step.tools, **step.sampling)
                async with stream:
                    async for chunk in stream:
                        yield chunk
                outcome: Any = [stream.result]
            else:
                outcome = await _ado(self._handle, step)
            step = await asyncio.to_thread(_advance, self._steps, outcome)
        if last := self._ended(step.value):
            yield last


def _do(handle: GeneratorHandle, step: Step) -> Any:
    match step:
        case Chat(conversations=[messages]):
            return [handle.chat(messages, tools=step.tools, **step.sampling)]
        case Chat():
            return handle.chat_batch(step.conversations, tools=step.tools, **step.sampling)
        case Complete():
            return handle.complete(step.text, **step.sampling)
        case RunTool():
            return _use(step)


async def _ado(handle: GeneratorHandle, step: Step) -> Any:
    match step:
        case Chat():
            return await _achat(handle, step)
        case Complete():
            return await handle.acomplete(step.text, **step.sampling)
        case RunTool():
            return await _ause(step)


async def _achat(handle: GeneratorHandle, step: Chat) -> Sequence[Result]:
    places = asyncio.Semaphore(max(1, handle.engine.max_concurrency))

    async def answer(messages: Sequence[Message]) -> Result:
        async with places:
            return await handle.achat(messages, tools=step.tools, **step.sampling)

    running = [asyncio.ensure_future(answer(messages)) for messages in step.conversations]
    try:
        return await asyncio.gather(*running)
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _use(step: RunTool) -> ToolUse:
    try:
        value = step.tool.call(step.call.arguments)
    except Exception as error:  # noqa: BLE001 - the model is told, and the error is kept
        return ToolUse.failed(step.call, error)
    if isawaitable(value):
        if iscoroutine(value):
            value.close()
        raise UnsupportedFeatureError(
            f"the tool {step.tool.name!r} is async", value=step.tool.name, hint="use arun_tools in place of run_tools"
        )
    return ToolUse.answered(step.call, value)


async def _ause(step: RunTool) -> ToolUse:
    try:
        value = await asyncio.to_thread(step.tool.call, step.call.arguments)
        if isawaitable(value):
            value = await value
    except Exception as error:  # noqa: BLE001 - the model is told, and the error is kept
        return ToolUse.failed(step.call, error)
    return ToolUse.answered(step.call, value)
