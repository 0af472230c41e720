"""Scores of given texts: every token once, with as much before it as the window allows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import Feature, LogitsModel, Vocabulary
from enginebay.errors import ContextLengthError, InvalidParameterError, UnsupportedFeatureError
from enginebay.generation.scoring import checked_window, continuation_ids, passes
from enginebay.interfaces.generator import scores_of
from enginebay.sampling.logits_generator import LogitsGenerator
from fake_engine import fake_handle, fake_model, fake_spec

LETTERS = "abcdefg "


class Bigrams(LogitsModel):
    """Logits that depend on the last letter alone, so that they can be worked out by hand."""

    vocabulary = Vocabulary(tuple(letter.encode() for letter in LETTERS), frozenset(), frozenset())
    context_length = 16
    table = np.random.default_rng(1).normal(size=(len(LETTERS), len(LETTERS)))

    def logits(self, tokens):
        assert len(tokens) <= self.context_length
        return self.table[tokens[-1]]

    def tokenize(self, text, *, add_bos=False):
        return [LETTERS.index(letter) for letter in text]


def handle(**model):
    spec = fake_spec(features=frozenset({Feature.LOGITS}))
    return fake_handle(LogitsGenerator(Bigrams()), spec=spec, model=fake_model(eos="a", **model))


def by_hand(ids: list[int]) -> list[float]:
    rows = Bigrams.table - np.log(np.exp(Bigrams.table).sum(axis=1, keepdims=True))
    return [float(rows[one, two]) for one, two in itertools.pairwise(ids)]


@given(st.integers(2, 200), st.integers(2, 40), st.data())
def test_passes_score_each_token_once(length: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window - 1))
    scored: list[int] = []
    for each in passes(range(length), window, stride):
        assert len(each.tokens) <= window
        assert each.tokens == tuple(range(each.tokens[0], each.tokens[-1] + 1))
        scored += each.tokens[each.first :]
        assert each.tokens[0] == 0 or each.first >= window - stride
    assert scored == list(range(1, length))


@given(st.text(LETTERS, min_size=2, max_size=60))
def test_perplexity_is_that_of_the_tokens(text: str) -> None:
    found = handle().perplexity(text)
    expected = by_hand(Bigrams().tokenize(text))
    assert found.tokens == len(text) - 1
    assert found.nats_per_token == pytest.approx(-np.mean(expected))
    assert (found.window, found.stride) == (16, 8)


def test_log_likelihood_counts_the_text_alone() -> None:
    found = handle().log_likelihood("cd", after="ab")
    assert found.tokens == 2
    assert found.total == pytest.approx(sum(by_hand([1, 2, 3])))
    nothing_before = handle().log_likelihood("cd")
    assert nothing_before.total == pytest.approx(sum(by_hand([0, 2, 3])))


def test_a_greedy_text_is_told() -> None:
    ids = [2]
    for _ in range(3):
        ids.append(int(Bigrams.table[ids[-1]].argmax()))
    text = "".join(LETTERS[one] for one in ids)
    assert handle().log_likelihood(text[1:], after=text[0]).greedy
    other = LETTERS[int(Bigrams.table[2].argmin())]
    assert not handle().log_likelihood(other, after="c").greedy


def test_what_comes_before_is_cut_where_it_is_too_long() -> None:
    assert handle().log_likelihood("b", after="abc" * 20).total == pytest.approx(by_hand([2, 1])[0])
    with pytest.raises(ContextLengthError, match="20 tokens"):
        handle().log_likelihood("b" * 20)


def test_white_space_goes_with_what_follows() -> None:
    tokenize = Bigrams().tokenize
    assert continuation_ids(lambda text, add_bos=False: tokenize(text), "ab ", "c", begin="a") == ([0, 1, 7, 2], 2)


def test_wrong_windows_are_refused() -> None:
    assert checked_window(None, None, 4096) == (512, 256)
    assert checked_window(None, None, 100) == (100, 50)
    for window, stride in ((1, None), (200, None), (50, 50), (50, 0)):
        with pytest.raises(InvalidParameterError):
            checked_window(window, stride, 100)
    with pytest.raises(InvalidParameterError, match="two tokens"):
        handle().perplexity("a")


def test_an_engine_without_scores_is_refused() -> None:
    plain = fake_handle()
    with pytest.raises(UnsupportedFeatureError, match="does not score"):
        plain.perplexity("abc")
    with pytest.raises(UnsupportedFeatureError, match="features="):
        plain.log_likelihood("abc")


def test_scores_of_rows() -> None:
    scores = scores_of(np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]), [1, 1])
    assert scores.logprobs == pytest.approx([math.log(0.25), math.log(0.8)])
    assert scores.greedy.tolist() == [False, True]
