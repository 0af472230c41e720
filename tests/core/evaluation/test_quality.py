"""The figures of a quality report that can be worked out by hand; no model runs here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from enginebay.evaluation.quality import _scored, divergences
from scripted_scorer import OTHER, VOWEL, scripted_handle

LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-20, 20))


@given(LOGITS, LOGITS)
def test_divergence_is_that_of_the_distributions(reference: np.ndarray, other: np.ndarray) -> None:
    p, q = (np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in (reference, other))
    assert divergences(reference, other) == pytest.approx((p * np.log(p / q)).sum(axis=1), abs=1e-9)
    assert divergences(reference, reference + 7.0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_padding_of_the_vocabulary_is_cut() -> None:
    rows = np.random.default_rng(1).normal(size=(4, 6))
    assert divergences(rows[:, :5], rows) == pytest.approx(np.zeros(4))


def test_an_engine_that_scores_alone_counts_the_same_tokens(tmp_path: Path) -> None:
    """The text is cut where it is for the original, which an engine with logits may have scored."""
    question = {"text": "ba" * 20 + "x" * 200, "window": 8, "tokens": 20, "kept": str(tmp_path), "first": False}
    ids = scripted_handle().tokenize(question["text"], add_bos=True)[:20]
    scored = [VOWEL if chr(token) in "aeiou" else OTHER for token in ids[1:]]
    assert _scored(scripted_handle(), question) == {"perplexity": pytest.approx(np.exp(-np.mean(scored)))}
