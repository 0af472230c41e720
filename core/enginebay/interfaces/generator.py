"""The generator interface: text out of a prompt."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import GenerationError, UnsupportedFeatureError
from enginebay.interfaces._threads import close_iterator, items_from_thread
from enginebay.interfaces.logits import LogitsModel, log_softmax
from enginebay.sampling.params import SamplingParams


class FinishReason(StrEnum):
    """Why an output ended."""

    STOP = "stop"
    """The end token or a stop string."""
    LENGTH = "length"
    """max_tokens, or the context is full."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's natural-log probability under the model's raw distribution.

    Attributes:
        token: text of the token; incomplete UTF-8 is shown by the replacement character.
        top: the likeliest tokens at this place, best first, as (token id, text, logprob).
    """

    token_id: int
    token: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model makes of tokens that are given; n tokens have n - 1 scores, for the first follows nothing.

    Attributes:
        logprobs: natural-log probability of each token after the first, given all before it, shape (n - 1,).
        greedy: whether it is the likeliest token at its place, shape (n - 1,).
    """

    logprobs: NDArray[np.float64]
    greedy: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request; `cached_tokens` of the prompt came from the KV cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall-clock seconds of one request.

    Attributes:
        ttft: time to first token, from the call to the first chunk.
        total: from the call to the end.
        tokens_per_second: decode speed: tokens after the first over the time after the first.
    """

    ttft: float
    total: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one output.

    Attributes:
        text: new text, complete characters only; may be empty.
        token_ids: ids of the tokens behind the text, when the engine tells.
        logprobs: one entry per token when asked for.
        choice: which of the `n` outputs, from 0.
        finish_reason: set on the last chunk of an output only.
        usage: set on the last chunk of an output only.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    choice: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What an engine sees: a prompt already rendered and parameters it has declared as native.

    Attributes:
        prompt: the text; special tokens written in it are parsed as such.
        params: parameters reduced to the backend's native ones; all others are at their "off" value.
        add_bos: let the tokenizer put its begin token first, if the model wants one.
        messages, tools: a conversation and tool definitions as OpenAI's API writes them, in place of the prompt; only
            for engines with `Feature.MESSAGES`, which apply the model's chat template themselves.
    """

    prompt: str
    params: SamplingParams = field(default_factory=SamplingParams)
    add_bos: bool = True
    messages: tuple[Mapping[str, Any], ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One whole output of an engine: what `generate` gathers from `stream`."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason
    usage: Usage


def gather(chunks: Iterable[Chunk]) -> Completion:
    """Join the chunks of one output.

    Raises:
        GenerationError: the chunks ended without a finish reason.
    """
    texts: list[str] = []
    token_ids: list[int] = []
    logprobs: list[TokenLogprob] = []
    last: Chunk | None = None
    for chunk in chunks:
        texts.append(chunk.text)
        token_ids.extend(chunk.token_ids)
        logprobs.extend(chunk.logprobs)
        last = chunk
    text = "".join(texts)
    if last is None or last.finish_reason is None:
        raise GenerationError("the engine's stream ended without a finish reason", partial_text=text)
    return Completion(text, tuple(token_ids), tuple(logprobs), last.finish_reason, last.usage or Usage())


_ROWS = 64
"""Rows of logits computed together: copies in float64 of all would take gigabytes with a large vocabulary."""


def scores_of(logits: NDArray[np.floating], tokens: Sequence[int]) -> Scores:
    """Scores of tokens that each follow a row of raw logits, shape (tokens, vocabulary)."""
    wanted = np.asarray(tokens)
    logprobs = np.empty(len(wanted))
    greedy = np.empty(len(wanted), dtype=np.bool_)
    for start in range(0, len(wanted), _ROWS):
        part = slice(start, start + _ROWS)
        rows, chosen = log_softmax(logits[part]), wanted[part]
        logprobs[part] = rows[np.arange(len(rows)), chosen]
        greedy[part] = rows.argmax(axis=1) == chosen
    return Scores(logprobs, greedy)


class Generator(ABC):
    """An engine that generates text.

    A backend implements `stream`, `tokenize` and `context_length`; the rest is derived and may be
    overridden where the engine does better itself.

    Rules for `stream`: it yields chunks of complete characters, the last one with `finish_reason`
    and `usage`. Closing the iterator stops the engine within one token and frees its slot. It raises
    only errors of `enginebay.errors`.

    Attributes:
        max_concurrency: how many streams the engine takes at once; the core queues the others.
    """

    max_concurrency: int = 1

    @abstractmethod
    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        """Generate, chunk by chunk.

        Raises:
            ContextLengthError: the prompt does not fit.
            GenerationError: the engine failed; carries the partial text.
            EngineClosedError: after `close`.
        """

    @abstractmethod
    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids of `text`; special tokens written in it are parsed as such."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """Tokens that one sequence may hold, prompt and output together."""

    def close(self) -> None:
        """Free weights and memory. Closing twice is no error."""

    def logits_model(self) -> LogitsModel:
        """The engine as one that hands over logits, for what it cannot do itself; needs `Feature.LOGITS`.

        Raises:
            UnsupportedFeatureError: it does not hand them over.
        """
        raise UnsupportedFeatureError("this engine does not hand over logits", value=type(self).__name__)

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Raw logits that follow each of the tokens, shape (tokens, vocabulary): row i follows token i.

        Derived from `logits_model`; an engine that gives logits of a prompt but not token by token overrides it.

        Raises:
            UnsupportedFeatureError: it does not hand over logits.
        """
        return self.logits_model().prompt_logits(tokens)

    def score(self, tokens: Sequence[int]) -> Scores:
        """Log-probabilities of given tokens, at least two and no more than the context holds; for `Feature.SCORING`.

        Derived from `prompt_logits`; an engine that gives log-probabilities alone overrides it. Raises as it does.
        """
        return scores_of(self.prompt_logits(tokens[:-1]), tokens[1:])

    def push(self, request: GenerationRequest, receive: Callable[[Chunk], bool]) -> None:
        """Generate, handing each chunk to `receive` in this thread, until it returns True.

        An engine that itself calls back overrides this and saves a thread for every whole or async output. Raises as
        `stream` does; an exception of `receive` stops the engine and passes.
        """
        chunks = self.stream(request)
        try:
            for chunk in chunks:
                if receive(chunk):
                    return
        finally:
            close_iterator(chunks)

    def generate(self, request: GenerationRequest) -> Completion:
        """Generate one whole output. Raises as `stream` does."""
        chunks: list[Chunk] = []

        def receive(chunk: Chunk) -> bool:
            chunks.append(chunk)
            return False

        self.push(request, receive)
        return gather(chunks)

    def push_batch(self, requests: Sequence[GenerationRequest], receive: Callable[[int, Chunk], bool]) -> None:
        """Generate many outputs together, handing each chunk and its request's index to `receive`.

        One output ends when `receive` returns True for it. An engine that decodes a batch in one call overrides this;
        derived, as many requests run at once as the engine takes, each in a thread, and `receive` is called from them.
        The first error stops the others and is raised.
        """
        width = min(self.max_concurrency, len(requests))
        if width <= 1:
            for index, request in enumerate(requests):
                self.push(request, partial(receive, index))
            return
        failed = threading.Event()

        def run(index: int) -> None:
            if failed.is_set():
                return
            try:
                self.push(requests[index], lambda chunk: receive(index, chunk) or failed.is_set())
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(width, thread_name_prefix="enginebay-batch") as pool:
            list(pool.map(run, range(len(requests))))

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Generate many whole outputs, in the order of the requests."""
        chunks: list[list[Chunk]] = [[] for _ in requests]

        def receive(index: int, chunk: Chunk) -> bool:
            chunks[index].append(chunk)
            return False

        self.push_batch(requests, receive)
        return [gather(one) for one in chunks]

    def astream(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        """Async twin of `stream`: cancelling the task or closing the iterator stops the engine.

        An engine that is itself asynchronous overrides this and derives `stream` from it.
        """
        return items_from_thread(lambda receive: self.push(request, receive))

    async def agenerate(self, request: GenerationRequest) -> Completion:
        """Async twin of `generate`."""
        return gather([chunk async for chunk in self.astream(request)])


class CallbackGenerator(Generator):
    """A generator whose engine calls back: it implements `push`, and `stream` is derived from it.

    Rules for `push` are those for `stream`; when `receive` returns True or raises, the engine stops within one token.
    """

    @abstractmethod
    def push(self, request: GenerationRequest, receive: Callable[[Chunk], bool]) -> None:
        """Generate in this thread, handing each chunk to `receive`, until it returns True."""

    def check_open(self) -> None:
        """Raise EngineClosedError after `close`: called before a stream's thread is started."""

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        """Generate; see `Generator.stream`. The engine's call blocks, so it has a thread of its own."""
        self.check_open()
        chunks: SimpleQueue[Chunk | None] = SimpleQueue()
        stopped = False
        failure: BaseException | None = None

        def receive(chunk: Chunk) -> bool:
            chunks.put(chunk)
            return stopped

        def work() -> None:
            nonlocal failure
            try:
                self.push(request, receive)
            except BaseException as error:  # noqa: BLE001 - raised by the consumer
                failure = error
            chunks.put(None)

        thread = threading.Thread(target=work, name="enginebay-stream", daemon=True)
        thread.start()
        try:
            while (chunk := chunks.get()) is not None:
                yield chunk
            if failure is not None:
                raise failure
        finally:
            stopped = True
            thread.join()
