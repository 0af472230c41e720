"""Text out of HTML, line by line, each with its line in the file."""

from __future__ import annotations

import warnings
from typing import Any

from enginebay.errors import DocumentError
from enginebay.retrieval.libraries import load

_HIDDEN = frozenset({"head", "script", "style", "template", "noscript", "svg", "iframe", "object"})
_INLINE = frozenset(
    {
        *("a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "ins", "kbd"),
        *("label", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
    }
)
"""All other elements stand on lines of their own."""


def read_html(data: bytes | str) -> tuple[str, tuple[int, ...]]:
    """The text that a reader sees, and for each line of it the line in the file.

    A line is exact unless a start tag before it on the same line spans several: then it is that tag's first line.

    Raises:
        DocumentError: its elements are nested hundreds of levels deep.
        BackendUnavailableError: beautifulsoup4 is not installed.
    """
    library = load("bs4")
    page = _Page(library)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wonders about XHTML, and about texts that look like file names
            parsed = library.BeautifulSoup(data, "html.parser")
        page.walk(parsed)
    except RecursionError:
        raise DocumentError("its elements are nested too deeply") from None
    page.end_line()
    while page.texts and not page.texts[-1]:
        page.texts.pop()
    return "\n".join(page.texts), tuple(page.numbers[: len(page.texts)])


class _Page:
    """The lines so far, and the one that is being put together."""

    def __init__(self, library: Any) -> None:
        self.texts: list[str] = []
        self.numbers: list[int] = []
        self._library = library
        self._begun = ""
        self._begun_at = 1
        self._line = 1
        self._preformatted = 0

    def walk(self, element: Any, shown: bool = True) -> None:
        for child in element.children:
            if isinstance(child, self._library.Tag):
                self._tag(child, shown)
            else:
                plain = type(child) in (self._library.NavigableString, self._library.CData)
                self._text(str(child), shown and plain)

    def end_line(self) -> None:
        """End the line, if anything stands on it."""
        text = self._begun.rstrip() if self._preformatted else " ".join(self._begun.split())
        if text:
            self.texts.append(text)
            self.numbers.append(self._begun_at)
        self._begun = ""

    def _tag(self, tag: Any, shown: bool) -> None:
        self._line = max(self._line, tag.sourceline or 0)
        if tag.name == "br":
            self.end_line()
            return
        block = tag.name not in _INLINE
        if block:
            self._part()
        self._preformatted += tag.name == "pre"
        self.walk(tag, shown and tag.name not in _HIDDEN)
        if block:
            self.end_line()
        self._preformatted -= tag.name == "pre"
        if block:
            self._part()

    def _text(self, text: str, shown: bool) -> None:
        for place, part in enumerate(text.split("\n")):
            if place:
                if shown:
                    self.end_line()
                self._line += 1
            if shown and part:
                if not self._begun.strip():
                    self._begun_at = self._line
                self._begun += part

    def _part(self) -> None:
        """End the line, and leave an empty one before what comes next."""
        self.end_line()
        if self.texts and self.texts[-1]:
            self.texts.append("")
            self.numbers.append(self._line)
