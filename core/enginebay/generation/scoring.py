"""What a model makes of a text that is given: log-likelihood and perplexity, the same way on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from enginebay.errors import InvalidParameterError

WINDOW = 512
"""Tokens that are scored in one pass when nobody says how many."""


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """How likely a text is after another.

    Attributes:
        total: sum of the natural-log probabilities of its tokens.
        tokens: how many they are.
        greedy: each of them is the likeliest at its place: greedy decoding would write the text.
    """

    total: float
    tokens: int
    greedy: bool


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well a model foretells a text: exp of the mean negative log-likelihood of its tokens.

    Attributes:
        value: at least 1; the less, the better.
        tokens: how many were scored.
        window: tokens of one pass.
        stride: tokens of it that are new; each has at least window - stride tokens before it, but for the first pass.
    """

    value: float
    tokens: int
    window: int
    stride: int

    @property
    def nats_per_token(self) -> float:
        """Mean negative natural-log probability: the cross-entropy."""
        return math.log(self.value)


def continuation_ids(
    tokenize: Callable[..., list[int]], before: str, text: str, *, begin: str
) -> tuple[list[int], int]:
    """Token ids of two texts in one, and the place of the first token of the second.

    They are tokenized as one text, white space at the end of the first counted to the second, as EleutherAI's
    lm-evaluation-harness does: most tokens begin with a space.

    Args:
        begin: token that stands before a text that nothing comes before.
    """
    kept = before.rstrip()
    text = before[len(kept) :] + text
    whole = tokenize(kept + text, add_bos=True)
    if kept:
        return whole, min(len(tokenize(kept, add_bos=True)), len(whole))
    alone = tokenize(text)
    if len(whole) > len(alone):
        return whole, len(whole) - len(alone)
    start = tokenize(begin)
    return [*start, *alone], len(start)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a text.

    Attributes:
        tokens: what the model reads.
        first: place among them of the first that is scored; 1 at least.
    """

    tokens: tuple[int, ...]
    first: int


def passes(tokens: Sequence[int], window: int, stride: int) -> Iterator[Pass]:
    """Overlapping windows over a text, so that each token but the first is scored once, with much before it.

    The strided windows of Hugging Face's "Perplexity of fixed-length models".
    """
    scored = 1
    while scored < len(tokens):
        end = min(len(tokens), scored + (stride if scored > 1 else window - 1))
        start = max(0, end - window)
        yield Pass(tuple(tokens[start:end]), scored - start)
        scored = end


def checked_window(window: int | None, stride: int | None, context_length: int) -> tuple[int, int]:
    """Window and stride as they are used: `WINDOW` and half of it, where the context holds so much.

    Raises:
        InvalidParameterError: they do not fit the context or one another.
    """
    window = min(WINDOW, context_length) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 2 <= window <= context_length:
        raise InvalidParameterError(
            f"a window of {window} tokens is not between 2 and the context of {context_length}", value=window
        )
    if not 1 <= stride < window:
        raise InvalidParameterError(f"a stride of {stride} tokens is not below the window of {window}", value=stride)
    return window, stride


def perplexity_of(logprobs: Sequence[float], window: int, stride: int) -> Perplexity:
    """The perplexity that scores of single tokens make."""
    return Perplexity(math.exp(-math.fsum(logprobs) / len(logprobs)), len(logprobs), window, stride)
