"""Stop strings: whatever the pieces, the text ends before the first one and nothing is lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from enginebay.sampling.stops import StopBuffer

ALPHABET = "abé\n"


def run(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, bool, list[str]]:
    buffer = StopBuffer(stops)
    given_out: list[str] = []
    for piece in pieces:
        text, found = buffer.feed(piece)
        given_out.append(text)
        if found:
            return "".join(given_out), True, given_out
    given_out.append(buffer.flush())
    return "".join(given_out), False, given_out


@given(
    pieces=st.lists(st.text(ALPHABET, max_size=6), max_size=12),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
)
def test_no_stop_string_gets_out_and_no_text_is_lost(pieces: list[str], stops: tuple[str, ...]) -> None:
    whole = "".join(pieces)
    text, found, _ = run(pieces, stops)
    assert not any(stop in text for stop in stops)
    if not any(stop in whole for stop in stops):
        assert (text, found) == (whole, False)
    else:
        assert found
        assert whole.startswith(text)
        assert any(whole.startswith(stop, len(text)) for stop in stops)


@given(
    text=st.text(ALPHABET, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=6),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
)
def test_the_cut_into_pieces_does_not_matter(text: str, cuts: list[int], stops: tuple[str, ...]) -> None:
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert run(pieces, stops)[:2] == run(list(text), stops)[:2]


def test_the_stop_that_ends_first_in_the_stream_wins() -> None:
    assert run(["xxab", "cd"], ("bc", "abcd"))[:2] == ("xxa", True)


def test_only_a_possible_beginning_is_held_back() -> None:
    _, _, out = run(["hello ", "wor", "EN", "x"], ("END",))
    assert out == ["hello ", "wor", "", "ENx", ""]
