"""Passages of documents, numbered in a prompt, and the citations of them in an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from enginebay.errors import PromptError
from enginebay.spec import FrozenModel

_DASH = "[\u2013-]"
_BRACKETS = re.compile(rf"\[\s*([0-9]{{1,9}}(?:\s*(?:[,;]|{_DASH})\s*[0-9]{{1,9}})*)\s*\]")
_PART = re.compile(rf"([0-9]+)(?:\s*{_DASH}\s*([0-9]+))?")
LONGEST_RANGE = 100
"""Of a longer range than [1-100], only both ends are taken for cited."""


class Passage(FrozenModel):
    """A piece of a document.

    Attributes:
        id: the caller's name for it, "" for none.
    """

    text: str
    id: str = ""


Passages = Sequence[Passage | str | Mapping[str, Any]]
"""What callers may write: passages, bare texts, or mappings with text and id."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One place of an answer that cites a passage.

    Attributes:
        passage: index of the passage among those given, from 0.
        id: the passage's id.
        number: as it stands in the answer, from 1.
        start, end: the brackets' place in the answer, in characters.
    """

    passage: int
    id: str
    number: int
    start: int
    end: int


def as_passages(passages: Passages) -> list[Passage]:
    """The passages as models.

    Raises:
        PromptError: one has no text.
    """
    return [_as_passage(index, passage) for index, passage in enumerate(passages)]


def _as_passage(index: int, passage: Passage | str | Mapping[str, Any]) -> Passage:
    if isinstance(passage, Passage):
        return passage
    try:
        return Passage(text=passage) if isinstance(passage, str) else Passage.model_validate(passage)
    except ValidationError as error:
        raise PromptError(f"passage {index}: {error.errors()[0]['msg']}", value=passage) from error


def read_citations(text: str, shown: Sequence[tuple[int, Passage]]) -> tuple[list[Citation], list[int]]:
    """The citations in an answer: `[1]`, `[1, 2]`, `[1-3]`.

    Args:
        shown: the numbered passages, from number 1 on, each with its index among those given.

    Returns:
        The citations in their order, and the numbers that stand for no passage, each once.
    """
    citations: list[Citation] = []
    unknown: dict[int, None] = {}
    for brackets in _BRACKETS.finditer(text):
        for number in _numbers(brackets[1]):
            if 1 <= number <= len(shown):
                index, passage = shown[number - 1]
                citations.append(Citation(index, passage.id, number, brackets.start(), brackets.end()))
            else:
                unknown[number] = None
    return citations, list(unknown)


def _numbers(inside: str) -> list[int]:
    numbers: list[int] = []
    for first, last in _PART.findall(inside):
        low, high = int(first), int(last or first)
        numbers += range(low, high + 1) if 0 <= high - low < LONGEST_RANGE else (low, high)
    return numbers
