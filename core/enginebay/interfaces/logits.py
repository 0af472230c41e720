"""The smallest engine there is: one that only hands over logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Natural-log probabilities of raw logits, over the last axis."""
    scores = np.asarray(logits, dtype=np.float64)
    highest = scores.max(axis=-1, keepdims=True)
    totals = np.log(np.exp(scores - highest).sum(axis=-1, keepdims=True))
    return np.asarray(scores - (highest + totals), dtype=np.float64)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model.

    Attributes:
        pieces: bytes that each token stands for, by id; of a special token, the bytes of its text.
        special: ids of tokens that are no text of the output: begin, end, turn marks.
        end: ids of tokens that end an output.
    """

    pieces: tuple[bytes, ...]
    special: frozenset[int]
    end: frozenset[int]

    def __len__(self) -> int:
        return len(self.pieces)

    def text(self, token: int) -> str:
        """Text of one token; incomplete UTF-8 is shown by the replacement character."""
        return self.pieces[token].decode(errors="replace")

    @cached_property
    def visible(self) -> tuple[bytes, ...]:
        """Bytes that each token adds to an output: nothing for special ones."""
        return tuple(b"" if token in self.special else piece for token, piece in enumerate(self.pieces))


class LogitsModel(ABC):
    """An engine that offers logits and leaves everything else to the core.

    A factory may return one in place of a `Generator`; the backend then declares `Feature.LOGITS`. It gets streaming,
    every sampling parameter by the reference sampler, constraints by llguidance's masks, stop strings and logprobs.
    The core calls it from one thread at a time.
    """

    @abstractmethod
    def logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Raw logits of the token that follows `tokens`, shape (vocabulary,).

        Calls for one output each add a token to the last: a KV cache is kept by comparing with the call before.

        Raises:
            GenerationError: the engine failed.
            EngineClosedError: after `close`.
        """

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Raw logits that follow each of the tokens, shape (tokens, vocabulary): row i follows token i.

        Derived by one call of `logits` for each; an engine that gives them in one pass overrides it. Raises as it does.
        """
        return np.stack([self.logits(tokens[: place + 1]) for place in range(len(tokens))])

    @abstractmethod
    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids of `text`; special tokens written in it are parsed as such."""

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """Tokens that one sequence may hold, prompt and output together."""

    def close(self) -> None:
        """Free weights and memory. Closing twice is no error."""
