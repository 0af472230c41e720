"""`enginebay embed` on the real model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from terminal import KEPT, run

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_lines_of_stdin_become_lines_of_json(minilm_ctranslate2_float32: Path) -> None:
    done = run("embed", "-e", str(minilm_ctranslate2_float32), text="a cat\nein Hündchen\n\n", **KEPT)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["text"] for entry in told] == ["a cat", "ein Hündchen", ""]
    assert np.linalg.norm([entry["vector"] for entry in told], axis=1) == pytest.approx([1, 1, 1], abs=1e-4)


def test_similarity_is_a_table(minilm_ctranslate2_float32: Path) -> None:
    done = run("embed", "-e", str(minilm_ctranslate2_float32), "--similarity", "a cat", "a kitten", "[b]rates", **KEPT)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[1].split()
    assert first[:4] == ["0", "a", "cat", "1.000"]
    assert float(first[4]) > 0.6 > float(first[5])


def test_what_is_wrong_is_told(minilm_ctranslate2_float32: Path) -> None:
    model = str(minilm_ctranslate2_float32)
    long = "cat " * 400
    refused = run("embed", "-e", model, long, **KEPT)
    assert refused.returncode == 1
    assert "text 0 has 402 tokens, the embedder reads 256" in refused.stderr
    cut = run("embed", "-e", model, "--truncate", long, **KEPT)
    assert cut.returncode == 0
    assert "1 of 1 texts were cut to 256 tokens" in cut.stderr
    assert "exclude each other" in run("embed", "-e", model, "--query", "--similarity", "a", **KEPT).stderr
    assert "did you mean 'all-minilm-l6-v2'" in run("embed", "-e", "all-minilm-l6", "a", **KEPT).stderr
