"""Splitting: nothing is lost, every piece fits, cuts fall where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.errors import ContextLengthError
from enginebay.prompts.splitting import split_text

WORDS = st.sampled_from(
    ["fox", "a", "Bär", "river", "。", "ok.", "no!", '"so."', "\n", "\n\n", " ", "  ", "x" * 40, "日本"]
)
TEXTS = st.one_of(
    st.text(max_size=200), st.lists(WORDS, max_size=60).map(" ".join), st.lists(WORDS, max_size=60).map("".join)
)


@given(TEXTS, st.integers(1, 60))
def test_the_pieces_are_the_text_and_each_fits(text: str, limit: int) -> None:
    pieces = split_text(text, len, limit)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces)


@given(TEXTS, st.integers(4, 60))
def test_counts_that_do_not_add_up(text: str, limit: int) -> None:
    """A tokenizer's count of a whole is not the sum of the counts of its parts."""

    def count(piece: str) -> int:
        return 2 + len(piece.encode()) // 3

    pieces = split_text(text, count, limit)
    assert "".join(pieces) == text
    assert all(count(piece) <= limit for piece in pieces)


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("One. Two.\n\nThree. Four.", 14, ["One. Two.\n\n", "Three. Four."]),
        ("One. Two.\nThree. Four.", 14, ["One. Two.\n", "Three. Four."]),
        ("One is. Two is! Three is?", 10, ["One is. ", "Two is! ", "Three is?"]),
        ("一つ。二つ。三つ。", 6, ["一つ。二つ。", "三つ。"]),
        ("alpha beta gamma", 11, ["alpha beta ", "gamma"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("short", 10, ["short"]),
        ("", 10, []),
    ],
)
def test_cuts_fall_at_the_best_boundary(text: str, limit: int, pieces: list[str]) -> None:
    assert split_text(text, len, limit) == pieces


def test_a_limit_below_one_character_is_told() -> None:
    with pytest.raises(ContextLengthError):
        split_text("abc", lambda piece: 5, 4)


def test_a_long_text_needs_few_counts() -> None:
    counted = 0

    def count(piece: str) -> int:
        nonlocal counted
        counted += 1
        return len(piece)

    text = "A sentence of words. " * 5000
    assert len(split_text(text, count, 1000)) == 107
    assert counted < 107 * 20
