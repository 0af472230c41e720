"""Holding out: the same by the same seed, each label its share, nothing on both sides."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.errors import DatasetError
from enginebay.interfaces.tuner import TuningMethod
from enginebay.tuning.data import read_examples
from enginebay.tuning.held_out import hold_out


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "train.jsonl"


def put(file: Path, rows: list[tuple[str, str]]) -> None:
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))


rows = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("xyz")), min_size=2, max_size=40)


@given(
    rows=rows.filter(lambda rows: len({text for text, _ in rows}) > 3), share=st.floats(0.05, 0.95), seed=st.integers()
)
def test_no_text_stands_on_both_sides_and_none_is_lost(
    file: Path, rows: list[tuple[str, str]], share: float, seed: int
) -> None:
    put(file, rows)
    split = hold_out(file, TuningMethod.FULL, share, seed)
    assert split.training | split.held_out == set(range(1, len(rows) + 1))
    assert split.training and split.held_out
    texts = [{rows[number - 1][0] for number in side} for side in (split.training, split.held_out)]
    assert not texts[0] & texts[1]
    assert hold_out(file, TuningMethod.FULL, share, seed) == split


@given(order=st.permutations(range(20)), seed=st.integers(0, 3))
def test_the_order_of_the_lines_does_not_matter(file: Path, order: list[int], seed: int) -> None:
    def held(numbers: list[int]) -> set[str]:
        put(file, [(f"text {number}", "ab"[number % 2]) for number in numbers])
        split = hold_out(file, TuningMethod.FULL, 0.3, seed)
        return {example.text for example in read_examples(file, TuningMethod.FULL, split.held_out)}  # type: ignore[attr-defined]

    assert held(order) == held(list(range(20)))


def test_each_label_has_its_share(file: Path) -> None:
    put(file, [(f"text {number}", "rare" if number % 10 == 0 else "common") for number in range(200)])
    splits = [hold_out(file, TuningMethod.FULL, 0.25, seed) for seed in range(2)]
    for split in splits:
        labels = [example.label for example in read_examples(file, TuningMethod.FULL, split.held_out)]  # type: ignore[attr-defined]
        assert Counter(labels) == {"common": 45, "rare": 5}
    assert splits[0] != splits[1]


def test_what_cannot_be_split_is_told(file: Path) -> None:
    put(file, [("a", "x"), ("b", "y"), ("a", "x")])
    with pytest.raises(DatasetError, match="too few examples"):
        hold_out(file, TuningMethod.FULL, 0.5)
    with pytest.raises(ValueError, match=r"share is 1\.0"):
        hold_out(file, TuningMethod.FULL, 1.0)
