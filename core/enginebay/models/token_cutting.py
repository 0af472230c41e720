"""Cutting a text's tokens to a length, for engines whose tokenizers do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from enginebay.errors import ContextLengthError

_MOST_SPECIAL = 2
"""Special tokens that a model puts around a text, at most."""


def end_tokens(tokenize: Callable[[str, bool], Sequence[int]]) -> tuple[int, ...]:
    """The special tokens that a tokenizer puts after a text.

    Args:
        tokenize: token ids of a text, with special tokens around it or without.
    """
    bare, whole = list(tokenize("a", False)), list(tokenize("a", True))
    for start in range(len(whole) - len(bare) + 1):
        end = start + len(bare)
        if whole[start:end] == bare:
            return tuple(whole[end:])
    return ()


def cut(tokens: Sequence[int], length: int, end: Sequence[int]) -> list[int]:
    """The first tokens of a text, so that they and its end tokens are `length` in all."""
    return [*tokens[: length - len(end)], *end]


class TextCutter:
    """Finds the texts that are too long for an engine, and cuts them, by the engine's own tokenizer.

    Args:
        tokenize: token ids of a text, with special tokens around it or without. It is slow: most texts need not be
            counted, because no token is shorter than a byte.
        limit: tokens of one text that are read, special ones included.
    """

    def __init__(self, tokenize: Callable[[str, bool], Sequence[int]], limit: int) -> None:
        self._tokenize = tokenize
        self._limit = limit

    def read(self, texts: Sequence[str], *, truncate: bool) -> tuple[list[str | list[int]], tuple[int, ...]]:
        """Each text or, where it must be cut, the tokens of its beginning; and the rows that were cut.

        Raises:
            ContextLengthError: a text is too long, and may not be cut.
        """
        read: list[str | list[int]] = list(texts)
        cut_rows = []
        for row, text in enumerate(texts):
            if len(text.encode()) + _MOST_SPECIAL <= self._limit:
                continue
            tokens = self._tokenize(text, True)
            if len(tokens) > self._limit:
                if not truncate:
                    raise ContextLengthError(len(tokens), self._limit, text=row)
                read[row] = cut(tokens, self._limit, self._end)
                cut_rows.append(row)
        return read, tuple(cut_rows)

    @cached_property
    def _end(self) -> tuple[int, ...]:
        return end_tokens(self._tokenize)
