"""Documents, and where each character of one stands in its file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from enginebay.interfaces.filters import MetadataValue


class Kind(StrEnum):
    """What a text is written in: how it is split."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a document stands.

    Attributes:
        page: from 1; None in a document without pages.
        first_line, last_line: from 1, as the file counts them; None in a document with pages, whose lines are the
            reader's own.
    """

    page: int | None = None
    first_line: int | None = None
    last_line: int | None = None

    def __str__(self) -> str:
        if self.page is not None:
            return f"page {self.page}"
        return str(self.first_line) if self.first_line == self.last_line else f"{self.first_line}-{self.last_line}"


@dataclass(frozen=True)
class Document:
    """A text to be searched.

    Attributes:
        id: the caller's name for it, or a file's path; unique in its index.
        text: all of it; offsets count its characters.
        metadata: what searches may filter by: flat, as of a record.
        kind: how to split it.
        language: the programming language of code, by its name in tree-sitter; "" for none.
        pages: for each page the offset at which it begins; empty for a document without pages.
        lines: for each line of the text its line in the file; empty where they are the same.
    """

    id: str
    text: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    kind: Kind = Kind.TEXT
    language: str = ""
    pages: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()

    def place(self, start: int, end: int) -> Place:
        """Where the characters from `start` up to `end` stand."""
        if self.pages:
            return Place(page=max(1, bisect_right(self.pages, start)))
        return Place(None, self._line(start), self._line(max(start, end - 1)))

    def _line(self, offset: int) -> int:
        line = bisect_right(self._line_starts, offset)
        return self.lines[line - 1] if self.lines else line

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(place + 1 for place, letter in enumerate(self.text) if letter == "\n")]
