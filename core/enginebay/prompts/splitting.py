"""Splitting a text into pieces that fit, at the best boundaries there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from enginebay.errors import ContextLengthError

# Each pattern ends before the place of a cut; what stands before it stays with the piece before.
_BOUNDARIES = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n"),
    re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*"),  # noqa: RUF001 - Chinese and Japanese sentences
    re.compile(r"\s+"),
    re.compile(r"(?s:.)"),
)
"""Ends of paragraphs, lines, sentences, words, characters."""


def split_text(text: str, count: Callable[[str], int], limit: int) -> list[str]:
    """Cut a text into pieces of at most `limit` tokens that give the text again when joined.

    A cut falls between paragraphs where that is possible, else between lines, sentences, words, and characters last.

    Args:
        count: gives the tokens of a text.
        limit: most tokens in a piece.

    Raises:
        ContextLengthError: a single character has more tokens than the limit.
    """
    return list(_split(text, count, limit, 0)) if text else []


def _split(text: str, count: Callable[[str], int], limit: int, level: int) -> Iterator[str]:
    if count(text) <= limit:
        yield text
        return
    if level == len(_BOUNDARIES):
        raise ContextLengthError(count(text), limit)
    segments = _cut(text, _BOUNDARIES[level])
    start = 0
    while start < len(segments):
        taken = _most(segments, start, count, limit)
        if taken:
            yield "".join(segments[start : start + taken])
        else:
            taken = 1
            yield from _split(segments[start], count, limit, level + 1)
        start += taken


def _cut(text: str, boundary: re.Pattern[str]) -> list[str]:
    ends = [match.end() for match in boundary.finditer(text)]
    cuts = [0, *ends] if ends and ends[-1] == len(text) else [0, *ends, len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def _most(segments: Sequence[str], start: int, count: Callable[[str], int], limit: int) -> int:
    """How many segments from `start` on fit together: doubling first, then halving, so that few counts are needed."""

    def fits(number: int) -> bool:
        return count("".join(segments[start : start + number])) <= limit

    rest = len(segments) - start
    fitting, tried = 0, 1
    while fits(tried):
        fitting = tried
        if tried == rest:
            return rest
        tried = min(rest, tried * 2)
    while tried - fitting > 1:
        middle = (fitting + tried) // 2
        if fits(middle):
            fitting = middle
        else:
            tried = middle
    return fitting
