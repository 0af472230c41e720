"""Streams of chunks, blocking and async: twins over one `Run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from types import TracebackType
from typing import Self

from enginebay.errors import GenerationError
from enginebay.generation.results import Result
from enginebay.generation.run import Run
from enginebay.interfaces._threads import close_iterator
from enginebay.interfaces.generator import Chunk


class ChunkStream(ABC):
    """Chunks as they come. Closing it early stops the engine; a context manager closes by itself."""

    def __init__(self) -> None:
        self._chunks = self._iterate()

    def texts(self) -> Iterator[str]:
        """Just the texts, empty ones left out."""
        return (chunk.text for chunk in self if chunk.text)

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def close(self) -> None:
        """Stop the engine and free its slot."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _iterate(self) -> Generator[Chunk, None, None]: ...


class AsyncChunkStream(ABC):
    """Async twin of `ChunkStream`: cancelling the task that reads it stops the engine."""

    def __init__(self) -> None:
        self._chunks = self._iterate()

    async def texts(self) -> AsyncIterator[str]:
        """Just the texts, empty ones left out."""
        async for chunk in self:
            if chunk.text:
                yield chunk.text

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self._chunks

    async def __anext__(self) -> Chunk:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Stop the engine and free its slot."""
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    def _iterate(self) -> AsyncGenerator[Chunk, None]: ...


class _WithResult:
    """What both kinds of text stream have: the run, and its result once it has ended."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        """The whole result.

        Raises:
            GenerationError: the stream has not been read to its end.
        """
        if self._result is None:
            raise GenerationError("the stream has not been read to its end", partial_text=self._run.text())
        return self._result


class TextStream(_WithResult, ChunkStream):
    """The chunks of a run. After the last one, `result` holds what a blocking call would have returned."""

    def _iterate(self) -> Generator[Chunk, None, None]:
        run = self._run
        gate = run.handle.gate
        if gate is not None:
            gate.acquire()
        try:
            with run.translating():
                for request, output in run.requests():
                    chunks = run.engine.stream(request)
                    try:
                        for chunk in chunks:
                            yield run.take(output, chunk)
                            if output.finish_reason is not None:
                                break
                    finally:
                        close_iterator(chunks)
                self._result = run.result()
        finally:
            if gate is not None:
                gate.release()


class AsyncTextStream(_WithResult, AsyncChunkStream):
    """Async twin of `TextStream`."""

    async def _iterate(self) -> AsyncGenerator[Chunk, None]:
        run = self._run
        gate = run.handle.gate
        if gate is not None:
            await gate.aacquire()
        try:
            with run.translating():
                for request, output in run.requests():
                    chunks = run.engine.astream(request)
                    try:
                        async for chunk in chunks:
                            yield run.take(output, chunk)
                            if output.finish_reason is not None:
                                break
                    finally:
                        close = getattr(chunks, "aclose", None)
                        if close is not None:
                            await close()
                self._result = run.result()
        finally:
            if gate is not None:
                gate.release()


def collect(run: Run) -> Result:
    """Run to the end in this thread, without the cost of a stream."""
    if run.plan.n > 1:
        return collect_batch([run])[0]
    gate = run.handle.gate
    if gate is not None:
        gate.acquire()
    try:
        with run.translating():
            for request, output in run.requests():
                run.engine.push(request, run.receiver(output))
            return run.result()
    finally:
        if gate is not None:
            gate.release()


def collect_batch(runs: Sequence[Run]) -> list[Result]:
    """Run many requests of one handle to their ends together."""
    if not runs:
        return []
    gate = runs[0].handle.gate
    if gate is not None:
        gate.acquire()
    try:
        with runs[0].translating():
            pairs = [(request, run.receiver(output)) for run in runs for request, output in run.requests()]
            receivers = [receive for _, receive in pairs]
            runs[0].engine.push_batch([request for request, _ in pairs], lambda index, chunk: receivers[index](chunk))
            return [run.result() for run in runs]
    finally:
        if gate is not None:
            gate.release()


async def drain(stream: AsyncTextStream) -> Result:
    """Read a stream to its end."""
    async for _ in stream:
        pass
    return stream.result
