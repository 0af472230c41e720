"""The toy engine. A real one imports its library here, at the top."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from enginebay import (
    Chunk,
    DeviceKind,
    FinishReason,
    GenerationRequest,
    Generator,
    OpenRequest,
    RuntimeReport,
    Usage,
)
from enginebay.errors import ContextLengthError, EngineClosedError


class EchoOptions(BaseModel):
    """Options of the backend; users set them in configuration or by keyword.

    Attributes:
        upper: repeat in capital letters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    upper: bool = False


class ToyEcho(Generator):
    """Repeats the prompt, a character at a time. A token is a character, its id the code point."""

    def __init__(self, context_length: int, options: EchoOptions) -> None:
        self._context_length = context_length
        self._options = options
        self._closed = False

    @property
    def context_length(self) -> int:
        return self._context_length

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        if self._closed:
            raise EngineClosedError("the toy engine is closed", hint="open it again")
        prompt_tokens = len(request.prompt)
        if prompt_tokens >= self._context_length:
            raise ContextLengthError(prompt_tokens, self._context_length)
        answer = request.prompt.upper() if self._options.upper else request.prompt
        room = self._context_length - prompt_tokens
        most = min(room, request.params.max_tokens or room)
        for character in answer[:most]:
            yield Chunk(text=character, token_ids=(ord(character),))
        yield Chunk(
            text="",
            finish_reason=FinishReason.LENGTH if len(answer) > most else FinishReason.STOP,
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=min(most, len(answer))),
        )

    def close(self) -> None:
        self._closed = True


def open_engine(request: OpenRequest) -> ToyEcho:
    """The factory: called with everything decided and checked."""
    options = request.options if isinstance(request.options, EchoOptions) else EchoOptions()
    return ToyEcho(request.context_length, options)


def check() -> RuntimeReport:
    """Runs in a child process: imports the library and says what it can do here."""
    return RuntimeReport(version="0.1.0", device_kinds=frozenset({DeviceKind.CPU}))
