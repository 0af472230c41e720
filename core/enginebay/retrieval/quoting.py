"""Which words of a source a claim rests on."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enginebay.retrieval.splitting import Span, trimmed

SUPPORT = 0.6
"""Share of a claim's words, by weight, that must stand in a quotation."""

_WINDOW = 3
"""Sentences of a quotation at most."""

_MORE = 0.2
"""Support that each sentence after the first must add."""

_LONG = 400
"""Characters from which on a sentence, such as a block of code, is taken line by line."""

_STEM = 5
"""Letters by which words are compared: endings differ, in most languages of Europe (McNamee and Mayfield, 2004)."""

_SHORT = 3
"""A claim of fewer words must also stand where the question's words do: "no" stands everywhere."""

_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+")
_CITED = r"(?:\s*\[[\d,;\s\u2013-]+\])*"
_SENTENCE_END = re.compile(
    "(?:"
    + rf"[.!?…]+[\"'”’)\]]*{_CITED}(?=\s+[^a-z\s]|\s*$)"  # noqa: RUF001 - quotation marks
    + "|[。！？]+"  # noqa: RUF001 - Chinese and Japanese sentences
    + r"|\n\s*\n"
    + r"|\n(?=\s*(?:[-*|#>]|\d+[.)])\s?)"  # before an item, a row or a heading
    + r")\s*"
)
_NUMBER = re.compile(r"\d+[.)]")
_MARKER = re.compile(r"\s*(?:[-*•#>|]+|\d+[.)])\s+")


@dataclass(frozen=True, slots=True)
class Found:
    """The best place for a claim.

    Attributes:
        text: which of the texts, from 0.
        span: its characters in that text.
        support: share of the claim's words, by weight, that stand there, `SUPPORT` to 1; all of its numbers do.
    """

    text: int
    span: Span
    support: float


def sentences(text: str) -> list[Span]:
    """The sentences and items of a text, without the white space around them."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    starts = [0, *ends]
    spans: list[Span] = []
    for start, end in zip(starts, [*ends, len(text)], strict=True):
        # "1." is no sentence, but the number of one.
        numbered = bool(spans) and _NUMBER.fullmatch(text, spans[-1].start, spans[-1].end)
        spans.append(trimmed(text, spans.pop().start if numbered else start, end))
    return [part for span in spans if span.start < span.end for part in _lines_of_long(text, span)]


class Sources:
    """Texts in which claims are looked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [[(span, _words(text[span.start : span.end])) for span in sentences(text)] for text in texts]
        parts = [words for found in self._texts for _, words in found]
        seen = Counter(stem for words in parts for stem in words)
        self._weights = {stem: math.log(1 + len(parts) / count) for stem, count in seen.items()}
        self._most = math.log(1 + max(1, len(parts)))

    def best(self, claim: str, question: str, among: Sequence[int]) -> Found | None:
        """The sentence in which most of a claim stands, up to three where each adds enough; None if too little does.

        Words count by how rare they are in the sources, those that stand nowhere as much as the rarest.

        Args:
            question: what the claim answers.
            among: which texts to look in.
        """
        wanted = _words(_MARKER.sub("", claim, count=1))
        if not wanted:
            return None
        asked = _words(question) & self._weights.keys() if len(wanted) < _SHORT else frozenset()
        best: tuple[float, Found] | None = None
        for text in among:
            for span, words, more in self._windows(text):
                support = self._support(wanted, asked, words)
                worth = support - _MORE * more
                if support >= SUPPORT and (best is None or worth > best[0]):
                    best = worth, Found(text, span, support)
        return None if best is None else best[1]

    def _windows(self, text: int) -> Iterator[tuple[Span, frozenset[str], int]]:
        """Sentences that stand together: where, their words, and how many follow the first one."""
        found = self._texts[text]
        for first in range(len(found)):
            words: frozenset[str] = frozenset()
            for more, (span, own) in enumerate(found[first : first + _WINDOW]):
                words |= own
                yield Span(found[first][0].start, span.end), words, more

    def _support(self, wanted: frozenset[str], asked: frozenset[str], words: frozenset[str]) -> float:
        if any(stem not in words for stem in wanted if any(letter.isdigit() for letter in stem)):
            return 0.0
        return min(self._share(wanted, words), self._share(asked, words))

    def _share(self, wanted: frozenset[str], words: frozenset[str]) -> float:
        whole = sum(self._weight(stem) for stem in wanted)
        return sum(self._weight(stem) for stem in wanted & words) / whole if whole else 1.0

    def _weight(self, stem: str) -> float:
        return self._weights.get(stem, self._most)


def _words(text: str) -> frozenset[str]:
    words = _WORD.findall(text.lower())
    return frozenset(word if any(letter.isdigit() for letter in word) else word[:_STEM] for word in words)


def _lines_of_long(text: str, span: Span) -> Iterator[Span]:
    if span.end - span.start <= _LONG:
        yield span
        return
    start = span.start
    for line in text[span.start : span.end].splitlines(keepends=True):
        part = trimmed(text, start, start + len(line))
        if part.start < part.end:
            yield part
        start += len(line)
