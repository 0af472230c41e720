"""A scripted generator for the harness, and task files for it. It runs no model: letters have fixed probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enginebay import Feature
from enginebay.generation.handle import GeneratorHandle
from enginebay.interfaces.generator import Scores
from fake_engine import FakeGenerator, fake_handle, fake_model, fake_spec

VOWEL, OTHER = -0.5, -1.0


class ScriptedScorer(FakeGenerator):
    """One token is one letter; a vowel has log-probability -0.5 and is what greedy decoding writes, all else -1."""

    def __init__(self, pieces: Sequence[str] = ("4", "\n", "5")) -> None:
        super().__init__(pieces)
        self.scored: list[str] = []

    def score(self, tokens: Sequence[int]) -> Scores:
        assert 2 <= len(tokens) <= self.context_length
        self.scored.append("".join(map(chr, tokens)))
        vowels = np.array([chr(token) in "aeiou" for token in tokens[1:]])
        return Scores(np.where(vowels, VOWEL, OTHER), vowels)


def scripted_handle(engine: FakeGenerator | None = None, *, scores: bool = True, **fields: Any) -> GeneratorHandle:
    """A handle on it, whose begin token is "^"."""
    features = {Feature.STREAMING, Feature.CHAT_TEMPLATE} | ({Feature.SCORING} if scores else set())
    spec = fake_spec(features=frozenset(features))
    return fake_handle(engine or ScriptedScorer(), spec=spec, model=fake_model(bos="^"), **fields)


def write_task(folder: Path, name: str, rows: Sequence[dict[str, Any]], text: str) -> str:
    """A task file with its data beside it; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / f"{name}.yaml"
    head = (
        f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {name}.jsonl\ntest_split: test\n"
    )
    path.write_text(head + text, encoding="utf-8")
    return str(path)


CHOICES = """output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 3}
"""
CHOICE_ROWS = (
    {"question": "x", "choices": ["ab", "a"], "answer": 0},  # -2.5, -1.5: wrong; by length -1.25, -1.5: right
    {"question": "x", "choices": ["aa", "bb"], "answer": 0},  # -2, -3: right; by length right
    {"question": "x", "choices": ["b", "aab"], "answer": 1},  # -2, -3: wrong; by length -2, -1: right
)
ANSWERS = """output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
WORDS = """output_type: loglikelihood
doc_to_text: "{{before}}"
doc_to_target: "{{word}}"
target_delimiter: ""
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
TEXTS = """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""
