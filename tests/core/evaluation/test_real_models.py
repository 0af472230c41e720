"""The harness on the real model: engines agree with one another, and with the harness's own model class."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebay import Bay, HardwareProfile
from enginebay.evaluation.adapter import GeneratorLM
from enginebay.evaluation.harness import evaluate
from enginebay.evaluation.loading import LoadedTasks, load_tasks
from enginebay.evaluation.report import EvaluationReport

pytestmark = pytest.mark.model

ITEMS = 6
PAIRS = (
    ("The capital of France is", " Paris"),
    ("The capital of France is ", "Paris"),
    ("The capital of France is", " London, of course"),
    ("Question: What is 7 + 5?\nAnswer:", " 12"),
    ("Question: What is 7 + 5?\nAnswer:\n", "12"),
    ("", "Once upon a time there was a king."),
    ("Été à la plage :", " soleil et mer"),
    ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Hello! How can I help you today?"),
    ("2 + 2 =", " 4, and 3 + 3 = 6"),
)
TEXT = "The Rays of Light are very small Bodies emitted from shining Substances. " * 3


@pytest.fixture(scope="module")
def tasks() -> LoadedTasks:
    return load_tasks(["bay_knowledge", "bay_sums", "bay_text"])


def test_two_engines_agree(
    smollm2_path: Path, smollm2_safetensors: Path, tasks: LoadedTasks, this_machine: HardwareProfile
) -> None:
    reports: list[EvaluationReport] = []
    for backend, path in (("llama_cpp", smollm2_path), ("transformers", smollm2_safetensors)):
        with Bay(hardware=this_machine) as bay:
            handle = bay.generator(str(path), backend=backend, context_length=1024)
            reports.append(evaluate(handle, tasks, limit=ITEMS))
    one, other = reports
    assert (one.backend, other.backend) == ("llama_cpp", "transformers")
    assert one.accuracy["bay_knowledge acc"] >= 0.5, "guessing gives a quarter"
    for name, value in one.accuracy.items():
        assert value == pytest.approx(other.accuracy[name], abs=1.01 / ITEMS), name
    bits = one.value("bay_text", "bits_per_byte")
    assert 0.8 < bits < 2.5
    assert bits == pytest.approx(other.value("bay_text", "bits_per_byte"), rel=0.015)


def test_log_likelihoods_are_those_of_the_harness_itself(
    smollm2_safetensors: Path, this_machine: HardwareProfile
) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    pairs = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(PAIRS)]
    texts = [Instance("loglikelihood_rolling", {}, (TEXT,), 0)]
    theirs = HFLM(pretrained=str(smollm2_safetensors), dtype="float32", device="cpu", batch_size=1, max_length=64)
    with Bay(hardware=this_machine) as bay:
        path, options = str(smollm2_safetensors), {"dtype": "float32"}
        ours = GeneratorLM(bay.generator(path, backend="transformers", context_length=1024, options=options))
        whole = ours.loglikelihood_rolling(texts)[0]
        scored = ours.loglikelihood(pairs)
    for pair, (total, greedy), (expected, expected_greedy) in zip(
        PAIRS, scored, theirs.loglikelihood(pairs, disable_tqdm=True), strict=True
    ):
        assert total == pytest.approx(expected, rel=1e-2), pair
        assert greedy == expected_greedy, pair
    assert whole == pytest.approx(theirs.loglikelihood_rolling(texts, disable_tqdm=True)[0], rel=1e-2)
