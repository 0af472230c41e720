"""Passages are slices of their documents, no longer than asked, and know where they stand."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.errors import InvalidParameterError
from enginebay.retrieval import Document, Kind
from enginebay.retrieval.splitting import Span, Splitter

WORD = re.compile(r"\S+")
PIECES = st.sampled_from(
    [
        "# Heading\n",
        "## Sub\n\n",
        "word ",
        "a sentence. ",
        "\n",
        "\n\n",
        "- item\n",
        "```\ncode\n```\n",
        "| a | b |\n",
        "é",
        "日本",
        "🙂",
        "\t",
    ]
)


def count(text: str) -> int:
    return len(WORD.findall(text))


def splitter(tokens: int = 8, overlap: int = 0) -> Splitter:
    return Splitter(tokens, overlap, count=count)


@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(list(Kind)), st.integers(0, 4))
def test_every_passage_is_a_slice(text: str, kind: Kind, overlap: int) -> None:
    document = Document("a", text, kind=kind)
    spans = splitter(8, overlap).split(document)
    covered = set()
    for span in spans:
        passage = text[span.start : span.end]
        assert passage.strip()
        assert count(passage) <= 8
        covered |= set(range(span.start, span.end))
        place = document.place(span.start, span.end)
        lines = text.split("\n")[place.first_line - 1 : place.last_line]  # type: ignore[operator]
        assert passage.strip() in "\n".join(lines)
    assert [span.start for span in spans] == sorted(span.start for span in spans)
    assert all(text[place].isspace() for place in set(range(len(text))) - covered), "nothing is lost"
    if not overlap:
        assert len(covered) == sum(span.end - span.start for span in spans), "nothing is there twice"


def test_headings_stand_with_what_follows() -> None:
    rows = "\n".join(f"| row {number} | is long enough |" for number in range(9))
    document = Document("a", f"Before it.\n\n# A heading\n\n{rows}\n", kind=Kind.MARKDOWN)
    passages = [document.text[span.start : span.end] for span in splitter(16).split(document)]
    assert passages[1].startswith("# A heading\n\n| row 0")
    assert all(count(passage) <= 16 for passage in passages)


def test_markdown_is_cut_by_its_headings() -> None:
    text = "# One\n\na b c\n\n# Two\n\nd e f\n"
    spans = splitter(6).split(Document("a", text, kind=Kind.MARKDOWN))
    assert [text[span.start : span.end] for span in spans] == ["# One\n\na b c", "# Two\n\nd e f"]


def test_overlap() -> None:
    text = " ".join(f"w{number}." for number in range(40))
    spans = splitter(8, 3).split(Document("a", text))
    assert all(later.start < earlier.end for earlier, later in pairwise(spans))
    with pytest.raises(InvalidParameterError, match="more than half"):
        splitter(8, 5)


def test_counting_by_characters_is_said() -> None:
    plain = Splitter(10)
    assert plain.counts_by == "characters"
    assert all(span.end - span.start <= 30 for span in plain.split(Document("a", "word " * 100)))
    assert plain.recipe != splitter(10).recipe


def test_white_space_alone_is_no_passage() -> None:
    assert splitter().split(Document("a", " \n\n ")) == []
    assert splitter().split(Document("a", "")) == []


def test_code_is_cut_by_its_grammar_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grammar and the library are stand-ins: what is tested is which splitter is taken."""
    taken: list[object] = []

    class CodeSplitter:
        @classmethod
        def from_callback(cls, grammar: object, count: object, capacity: int, overlap: int) -> CodeSplitter:
            taken.append((grammar, capacity, overlap))
            return cls()

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            return [(0, text)]

    monkeypatch.setitem(sys.modules, "tree_sitter_toy", SimpleNamespace(language=lambda: "the grammar"))
    monkeypatch.setattr("enginebay.retrieval.splitting.load", lambda name: SimpleNamespace(CodeSplitter=CodeSplitter))
    assert splitter(9, 2).split(Document("a", "x = 1", kind=Kind.CODE, language="toy")) == [Span(0, 5)]
    assert taken == [("the grammar", 9, 2)]
