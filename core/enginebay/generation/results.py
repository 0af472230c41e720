"""What a request gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from enginebay.errors import GenerationError
from enginebay.interfaces.generator import FinishReason, Timing, TokenLogprob, Usage
from enginebay.prompts.chat_template import RenderedPrompt
from enginebay.sampling.plan import LedgerEntry

if TYPE_CHECKING:
    from pydantic import BaseModel

    from enginebay.matching.decision import Decision

    ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Output:
    """One of the `n` outputs.

    `token_ids` and `logprobs` are the engine's, those of a stop string included; `text` ends before it.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Result:
    """What a request gave, and how it came about.

    Attributes:
        outputs: one per `n`.
        usage: tokens of all outputs together; the prompt counts once.
        timing: of the whole request.
        prompt: the text the engine was given, and the digest of the chat template behind it.
        ledger: every sampling parameter that was not off, and who honoured it.
        decision: why this backend on this device.
    """

    outputs: tuple[Output, ...]
    usage: Usage
    timing: Timing
    prompt: RenderedPrompt
    ledger: tuple[LedgerEntry, ...]
    backend: str
    device: str
    decision: Decision | None = None

    @property
    def text(self) -> str:
        """Text of the first output."""
        return self.outputs[0].text

    @property
    def finish_reason(self) -> FinishReason:
        """Why the first output ended."""
        return self.outputs[0].finish_reason

    def parse(self, model: type[ModelT]) -> ModelT:
        """The first output as an instance of a pydantic model.

        Raises:
            GenerationError: the text is no valid instance; carries the text.
        """
        from pydantic import ValidationError

        try:
            return model.model_validate_json(self.text)
        except ValidationError as error:
            raise GenerationError(
                f"the output is no {model.__name__}: {error.errors()[0]['msg']}",
                partial_text=self.text,
                hint="constrain it with json_schema, and give max_tokens enough room",
            ) from error

    def __str__(self) -> str:
        return self.text
