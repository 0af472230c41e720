"""One request under way: split, timed and gathered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from enginebay.errors import EnginebayError, GenerationError, UnsupportedFeatureError
from enginebay.generation.results import Output, Result
from enginebay.hookspecs import RequestEvent
from enginebay.interfaces.generator import (
    Chunk,
    FinishReason,
    GenerationRequest,
    Generator,
    Timing,
    TokenLogprob,
    Usage,
)
from enginebay.prompts.chat_template import RenderedPrompt
from enginebay.sampling.plan import Plan, plan
from enginebay.sampling.stops import StopBuffer

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.sampling.params import SamplingParams


class GatheredOutput:
    """Gathers one output from its chunks, looking for stop strings."""

    def __init__(self, choice: int, stop: tuple[str, ...]) -> None:
        self.choice = choice
        self.texts: list[str] = []
        self.token_ids: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._stops = StopBuffer(stop) if stop else None

    def take(self, chunk: Chunk) -> Chunk:
        """Count a chunk in and give the part of it that callers may see."""
        if chunk.token_ids:
            self.token_ids += chunk.token_ids
        if chunk.logprobs:
            self.logprobs += chunk.logprobs
        if chunk.usage is not None:
            self.usage = chunk.usage
        self.finish_reason = chunk.finish_reason
        if self._stops is not None:
            chunk = self._without_stop(chunk, self._stops)
        if self.choice:
            chunk = replace(chunk, choice=self.choice)
        if chunk.text:
            self.texts.append(chunk.text)
        return chunk

    def _without_stop(self, chunk: Chunk, stops: StopBuffer) -> Chunk:
        text, found = stops.feed(chunk.text)
        if found:
            self.finish_reason = FinishReason.STOP
        elif chunk.finish_reason is not None:
            text += stops.flush()
        return replace(chunk, text=text, finish_reason=self.finish_reason)

    def finished(self) -> Output:
        if self.finish_reason is None:
            raise GenerationError("the engine's stream ended without a finish reason", partial_text="".join(self.texts))
        return Output("".join(self.texts), tuple(self.token_ids), tuple(self.logprobs), self.finish_reason)


class Run:
    """One request under way. Knows nothing of threads or event loops."""

    def __init__(self, handle: GeneratorHandle, prompt: RenderedPrompt, params: SamplingParams) -> None:
        handle.check_open()
        self.handle = handle
        self.prompt = prompt
        self.plan: Plan = plan(params, handle.spec, handle.others)
        self.engine: Generator = handle.opened.sampled if self.plan.by_logits else handle.engine
        self.outputs: list[GatheredOutput] = []
        self.started = time.perf_counter()
        self.first: float | None = None
        self.ended: float | None = None

    def requests(self) -> Iterator[tuple[GenerationRequest, GatheredOutput]]:
        """The engine's requests, one per output, each with the place where its chunks are gathered."""
        for choice in range(self.plan.n):
            params = self.plan.native
            if choice and params.seed is not None:
                params = params.model_copy(update={"seed": (params.seed + choice) % 2**32})
            output = GatheredOutput(choice, self.plan.stop)
            self.outputs.append(output)
            prompt = self.prompt
            yield GenerationRequest(prompt.text, params, prompt.add_bos, prompt.messages, prompt.tools), output

    def receiver(self, output: GatheredOutput) -> Callable[[Chunk], bool]:
        """A receiver of the engine's chunks that stops it when the output has ended."""

        def receive(chunk: Chunk) -> bool:
            self.take(output, chunk)
            return output.finish_reason is not None

        return receive

    def take(self, output: GatheredOutput, chunk: Chunk) -> Chunk:
        if self.first is None:
            self.first = time.perf_counter()
        return output.take(chunk)

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Let no engine's own exception out."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            translated = self._failed(error)
            if translated is None:
                raise
            raise translated from error

    def _failed(self, error: BaseException) -> EnginebayError | None:
        """The error callers see; None when they are to see the one raised. Observers are told."""
        self.handle.tell(RequestEvent(*self.handle.names(), usage=None, timing=None, error=str(error)))
        if isinstance(error, GenerationError):
            error.partial_text = error.partial_text or self.text()
        if isinstance(error, EnginebayError) or not isinstance(error, Exception):
            return None
        return GenerationError(
            f"backend {self.handle.spec.name!r} failed: {type(error).__name__}: {error}",
            partial_text=self.text(),
            value=error,
        )

    def text(self) -> str:
        return "".join(self.outputs[0].texts) if self.outputs else ""

    def result(self) -> Result:
        self.ended = time.perf_counter()
        usage = self._usage()
        result = Result(
            outputs=tuple(output.finished() for output in self.outputs),
            usage=usage,
            timing=self._timing(usage.completion_tokens),
            prompt=self.prompt,
            ledger=self.plan.ledger,
            backend=self.handle.spec.name,
            device=self.handle.device,
            decision=self.handle.decision,
        )
        self.handle.tell(RequestEvent(*self.handle.names(), usage=result.usage, timing=result.timing))
        return result

    def _usage(self) -> Usage:
        """Counts of all outputs; an output that the core cut at a stop string has none from the engine."""
        told = [output.usage for output in self.outputs if output.usage is not None]
        if told:
            prompt_tokens, cached = told[0].prompt_tokens, told[0].cached_tokens
        else:
            prompt_tokens, cached = self._counted(), 0
        completion = sum(
            output.usage.completion_tokens if output.usage is not None else len(output.token_ids)
            for output in self.outputs
        )
        return Usage(prompt_tokens, completion, cached)

    def _counted(self) -> int:
        """The prompt's tokens; 0 for an engine that neither tells nor counts them."""
        if self.prompt.messages is not None:
            return 0
        try:
            return len(self.handle.engine.tokenize(self.prompt.text, add_bos=self.prompt.add_bos))
        except UnsupportedFeatureError:
            return 0

    def _timing(self, tokens: int) -> Timing:
        ended = self.ended or time.perf_counter()
        first = self.first or ended
        decoding = ended - first
        speed = (tokens - 1) / decoding if tokens > 1 and decoding > 0 else 0.0
        return Timing(first - self.started, ended - self.started, speed)
