"""Cutting a text's tokens to a length, for engines whose tokenizers do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence


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
