"""The matcher on embedding models: no cache, speed by arithmetic, and what they need of an engine."""

from __future__ import annotations

from typing import Any

import pytest

from enginebay import BackendSpec, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, Requirement, Workload
from enginebay.matching.decision import Decision, Match, RefusalCode
from enginebay.matching.estimate import rates
from enginebay.matching.match import match
from enginebay.matching.report import explanation
from enginebay.models.catalogue import MINILM
from enginebay.models.conversion import ConverterSpec
from fake_embedder import fake_embedder_spec
from fake_engine import fake_spec
from machines import machine

MODEL = MINILM.info
PARAMETERS = MODEL.parameters - 30522 * 384
"""All but the table of tokens, which are looked up."""

TO_ONNX = ConverterSpec(
    name="to_onnx", source=ModelFormat.SAFETENSORS, target=ModelFormat.ONNX, factory="made:convert", size_ratio=0.5
)


def spec_of(name: str = "fake", *, reads: ModelFormat = ModelFormat.SAFETENSORS, **support: Any) -> BackendSpec:
    device = DeviceSupport(kind=DeviceKind.CPU, **({"step_overhead": 0.0} | support))
    return fake_embedder_spec(name, devices=(device,), formats=frozenset({reads}))


def decide(*specs: BackendSpec, converters: tuple[ConverterSpec, ...] = (), **fields: Any) -> Decision:
    given = {"interface": Interface.EMBEDDER, "model": MODEL, "workload": Workload.THROUGHPUT, "streams": 32}
    return match(Requirement(**given | fields), machine("epyc_server"), specs, converters=converters)


def only(decision: Decision) -> Match:
    (found,) = decision.matches
    return found


def test_a_batch_is_bound_by_arithmetic_and_a_single_text_by_reading_weights() -> None:
    support = {"compute_efficiency": 0.5, "efficiency": 0.5}
    estimate = only(decide(spec_of(**support))).estimate
    assert estimate is not None
    cpu = machine("epyc_server").device("cpu")
    assert cpu is not None
    bandwidth, compute, _ = rates(cpu, cpu)
    assert estimate.throughput == pytest.approx(compute * 0.5 / (2 * PARAMETERS))
    seconds = max(MODEL.weight_bytes / (bandwidth * 0.5), 2 * PARAMETERS * 128 / (compute * 0.5))
    assert estimate.tokens_per_second == pytest.approx(128 / seconds)


def test_there_is_no_cache_and_memory_grows_with_the_batch() -> None:
    small, large = (only(decide(spec_of(), streams=streams)).estimate for streams in (1, 33))
    assert small is not None
    assert large is not None
    assert small.kv_cache_bytes == large.kv_cache_bytes == 0
    tokens = 512  # the model has positions for no more
    assert large.overhead_bytes - small.overhead_bytes == 32 * tokens * 384 * 16


def test_a_serial_engine_still_embeds_a_batch_together() -> None:
    estimate = only(decide(spec_of())).estimate
    assert estimate is not None
    assert estimate.streams == 32


def test_too_little_memory_is_refused_with_the_sum() -> None:
    refusal = only(decide(spec_of(), memory_limit=10**8))
    assert refusal.reasons[0].code is RefusalCode.MEMORY
    assert "KV cache" not in refusal.reasons[0].message


def test_generators_are_not_asked() -> None:
    decision = decide(fake_spec("generator", formats=frozenset({ModelFormat.SAFETENSORS})), spec_of("embedder"))
    assert [found.backend for found in decision.matches] == ["embedder"]


def test_a_feature_that_is_lacking_is_named() -> None:
    refusal = only(decide(spec_of(), features=frozenset({Feature.EMBEDDING_MODULES})))
    assert refusal.reasons[0].message == "it lacks the feature embedding_modules"


def test_what_is_chosen_as_it_is_though_a_conversion_would_be_faster_says_so() -> None:
    slow, fast = (
        spec_of("slow", compute_efficiency=0.1),
        spec_of("fast", reads=ModelFormat.ONNX, compute_efficiency=0.4),
    )
    decision = decide(slow, fast, converters=(TO_ONNX,))
    assert decision.chosen is not None
    assert decision.chosen.backend == "slow"
    assert "slow on cpu is the fastest that can run all-minilm-l6-v2 as it is" in decision.why
    assert "fast on cpu would be 4.0 times as fast after a conversion" in decision.why
    converted = decide(slow, fast, converters=(TO_ONNX,), conversion="auto")
    assert converted.chosen is not None
    assert converted.chosen.backend == "fast"
    assert "4.0 times slow on cpu" in converted.why


def test_people_are_told_of_texts() -> None:
    lines = "\n".join(explanation(decide(spec_of()), verbose=True))
    assert "tokens/s over 32 texts" in lines
    assert "for one text" in lines
    assert "GFLOP/s" in lines
    assert "stream" not in lines
