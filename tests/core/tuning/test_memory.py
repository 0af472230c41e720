"""The estimate of memory: what must hold for any model, known figures, and ways out that do what they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.interfaces.tuner import LoraSettings, OptimizerName, TuningJob, TuningMethod
from enginebay.models.info import ModelInfo
from enginebay.spec import ModelFormat
from enginebay.tuning.memory import base_bytes, estimate_memory, lora_parameters, ways_out

SMOLLM2 = ModelInfo(
    reference="smollm2-135m-instruct", format=ModelFormat.SAFETENSORS, architecture="llama", parameters=134_515_008,
    weight_bytes=269_030_016, layers=30, heads=9, kv_heads=3, head_dim=64, embedding_length=576, vocabulary=49_152,
)  # fmt: skip

LIBRARIES = 0.55e9
"""Resident memory of a process that has imported torch, transformers and peft."""


def job(method: str = "full", **given: Any) -> TuningJob:
    if method in ("rloo", "grpo", "ppo"):
        given.setdefault("reinforcement", {"reward_model": "r"})
    given = {"model": "m", "data": Path("d"), "output": Path("o"), "method": method, **given}
    return TuningJob.model_validate(given)


@st.composite
def models(draw: st.DrawFn) -> ModelInfo:
    heads = draw(st.sampled_from([4, 8, 9, 16, 32]))
    kv_heads = draw(st.sampled_from([each for each in (1, 2, 3, 4, 8) if heads % each == 0]))
    head_dim = draw(st.sampled_from([64, 128]))
    hidden, layers, vocabulary = heads * head_dim, draw(st.integers(1, 80)), draw(st.integers(1000, 200_000))
    width = draw(st.integers(2, 4)) * hidden
    block = 2 * hidden * (heads + kv_heads) * head_dim + 3 * hidden * width
    parameters = vocabulary * hidden + layers * block
    return SMOLLM2.model_copy(
        update={
            "parameters": parameters, "weight_bytes": 2 * parameters, "layers": layers, "heads": heads,
            "kv_heads": kv_heads, "head_dim": head_dim, "embedding_length": hidden, "vocabulary": vocabulary,
        }
    )  # fmt: skip


@st.composite
def jobs(draw: st.DrawFn, methods: tuple[TuningMethod, ...] = tuple(TuningMethod)) -> TuningJob:
    method = draw(st.sampled_from(methods))
    return job(
        method,
        batch_size=draw(st.integers(1, 64)),
        gradient_accumulation=draw(st.integers(1, 8)),
        max_length=draw(st.integers(200, 8192)),
        precision=draw(st.sampled_from(["float32", "bfloat16"])),
        gradient_checkpointing=draw(st.booleans()) and method != "feature_based",
        optimizer={"name": draw(st.sampled_from(OptimizerName))},
        scale={"devices": draw(st.integers(1, 8)), "zero_stage": draw(st.integers(0, 3))},
    )


def changed(asked: TuningJob, **changes: Any) -> TuningJob:
    return TuningJob.model_validate({**asked.model_dump(), **changes})


def total(model: ModelInfo, asked: TuningJob, **given: Any) -> int:
    return estimate_memory(model, asked, **given).total


@given(model=models(), asked=jobs(), more=st.integers(1, 64))
def test_more_of_anything_never_takes_less(model: ModelInfo, asked: TuningJob, more: int) -> None:
    now = total(model, asked)
    assert now > 0
    assert total(model, changed(asked, batch_size=asked.batch_size + more)) > now
    assert total(model, changed(asked, max_length=asked.max_length + more)) > now
    assert total(model, asked, scores_kept=True) >= now
    assert total(model.model_copy(update={"parameters": model.parameters + more * 10**6}), asked) >= now


@given(model=models(), asked=jobs())
def test_what_saves_memory_never_takes_more(model: ModelInfo, asked: TuningJob) -> None:
    now = total(model, asked)
    if asked.method != "feature_based":
        assert total(model, changed(asked, gradient_checkpointing=True)) <= now
    assert total(model, changed(asked, optimizer={"name": "adamw_8bit"})) <= now
    sizes = []
    for stage in range(4):
        scale = {"devices": 4, "zero_stage": stage}
        sizes.append(total(model, changed(asked, scale=scale)))
    assert sizes == sorted(sizes, reverse=True)
    adamw = changed(asked, optimizer={"name": "adamw"})
    for kind, stage in (("optimizer", 2), ("parameters", 3)):
        kept = estimate_memory(model, changed(adamw, scale={"devices": 4, "zero_stage": stage}))
        offloaded = changed(adamw, scale={"devices": 4, "zero_stage": stage, "offload": kind})
        moved = estimate_memory(model, offloaded)
        assert moved.total <= kept.total
        assert moved.host >= 4 * (kept.gradients + kept.optimizer)


@given(model=models(), asked=jobs((TuningMethod.FULL,)), rank=st.integers(1, 16))
def test_less_trained_takes_less(model: ModelInfo, asked: TuningJob, rank: int) -> None:
    lora = changed(asked, method="lora", lora={"rank": rank})
    qlora = changed(asked, method="qlora", lora={"rank": rank})
    some = changed(asked, method="last_layers", layers=1)
    features = changed(asked, method="feature_based", gradient_checkpointing=False)
    full = total(model, asked)
    assert total(model, features) < total(model, some) <= full
    if asked.scale.zero_stage == 0:
        assert total(model, qlora) < total(model, lora) < full


@given(model=models(), method=st.sampled_from(["dpo", "kto", "rloo", "grpo", "ppo"]), batch=st.integers(1, 8))
def test_a_reference_is_held_unless_adapters_are_trained(model: ModelInfo, method: str, batch: int) -> None:
    whole, adapters = estimate_memory(model, job(method)), estimate_memory(model, job(method, lora={}))
    reward = model.parameters * 4 if method in ("rloo", "grpo", "ppo") else 0
    assert whole.weights == 2 * model.parameters * 4 + reward
    assert adapters.weights < 1.5 * model.parameters * 4 + reward
    pairs = estimate_memory(model, job("dpo", batch_size=batch))
    assert pairs.activations == estimate_memory(model, job("full", batch_size=2 * batch)).activations


def test_mixed_precision_takes_sixteen_bytes_for_a_trained_weight() -> None:
    for precision in ("bfloat16", "float32"):
        found = estimate_memory(SMOLLM2, job(precision=precision))
        assert found.weights + found.gradients + found.optimizer == 16 * SMOLLM2.parameters
    found = estimate_memory(SMOLLM2, job(precision="bfloat16", optimizer={"name": "adamw_8bit"}))
    assert found.weights + found.gradients + found.optimizer == 10 * SMOLLM2.parameters


def test_activations_are_those_of_the_formula() -> None:
    """Korthikanti et al. 2022, table 2, for GPT-3 175B: 2,048 tokens, hidden 12,288, 96 heads, 96 blocks, 16 bits."""
    gpt3 = SMOLLM2.model_copy(
        update={"layers": 96, "heads": 96, "embedding_length": 12_288, "vocabulary": 0, "kv_heads": 96}
    )
    asked = {"batch_size": 1, "max_length": 2048, "precision": "bfloat16"}
    by_hand = 96 * 2048 * 12_288 * (34 + 5 * 96 * 2048 / 12_288)
    assert estimate_memory(gpt3, job(**asked), scores_kept=True).activations == by_hand
    assert estimate_memory(gpt3, job(**asked)).activations == 96 * 2048 * 12_288 * 34
    least = estimate_memory(gpt3, job(**asked, gradient_checkpointing=True)).activations
    assert least == 96 * 2 * 2048 * 12_288 + 34 * 2048 * 12_288


def test_adapters_are_counted_as_peft_counts_them() -> None:
    assert lora_parameters(SMOLLM2, LoraSettings(target_modules=("q_proj", "v_proj"))) == 460_800
    assert lora_parameters(SMOLLM2, LoraSettings()) == 2_442_240  # target_modules="all-linear"


def test_measured_figures_are_met() -> None:
    """LoRA by TRL's SFTTrainer was seen to take 1.5 GB of process memory, and the nf4 weights 110 MB."""
    lora = {"rank": 8, "target_modules": ("q_proj", "v_proj")}
    whole = total(SMOLLM2, job("lora", batch_size=4, max_length=64, lora=lora)) + LIBRARIES
    assert whole == pytest.approx(1.5e9, rel=0.1)
    assert base_bytes(SMOLLM2, job("qlora")) == pytest.approx(110e6, rel=0.1)


def test_a_plain_step_was_measured_to_take_what_is_estimated() -> None:
    """Peak resident memory of torch steps over random weights of this shape, beside that of the imported libraries."""
    full = total(SMOLLM2, job("full", batch_size=2, max_length=256))
    assert full == pytest.approx(3.035e9, rel=0.1)
    lora = {"target_modules": ("q_proj", "v_proj")}
    assert total(SMOLLM2, job("lora", batch_size=4, max_length=64, lora=lora)) == pytest.approx(1.105e9, rel=0.2)


def test_logits_dominate_small_models() -> None:
    found = estimate_memory(SMOLLM2, job(gradient_checkpointing=True))
    logits = 2 * 4 * 4 * 1024 * SMOLLM2.vocabulary
    assert logits > 0.6 * found.activations


def parse(way: str, asked: TuningJob) -> tuple[TuningJob, float]:
    """The job with a way out written into it, and the GB that it promises."""
    settings, _, promise = way.rpartition(": takes ")
    table = tomllib.loads("\n".join(part for part in settings.split(", ") if part != "a table [lora]"))
    given = asked.model_dump(exclude_none=True)
    if "a table [lora]" in settings:
        given["lora"] = {}
    if table.get("method", asked.method) != asked.method:
        given.pop("layers", None)
    for name, value in table.items():
        given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
    gigabytes = re.match(r"[\d.]+", promise)
    assert gigabytes is not None
    return TuningJob.model_validate(given), float(gigabytes[0])


@given(model=models(), asked=jobs(), share=st.floats(0.05, 1.2), devices=st.sampled_from([1, 4]), host=st.booleans())
def test_every_way_out_fits_as_it_says(
    model: ModelInfo, asked: TuningJob, share: float, devices: int, host: bool
) -> None:
    now = total(model, asked)
    available = int(now * share)
    memory = 10**13 if host else 0
    ways = ways_out(model, asked, available, devices=devices, host_available=memory)
    assert not ways or now > available
    for way in ways:
        changed_job, promised = parse(way, asked)
        found = estimate_memory(model, changed_job)
        assert found.total <= available
        assert found.host <= memory
        assert promised == pytest.approx(found.total / 1e9, abs=0.01)
        whole = changed_job.batch_size * changed_job.gradient_accumulation
        assert whole == asked.batch_size * asked.gradient_accumulation


def test_ways_out_come_best_first() -> None:
    asked = job(batch_size=8, max_length=512)
    available = total(SMOLLM2, asked) - 10**9
    assert ways_out(SMOLLM2, asked, available, devices=2, host_available=10**11) == [
        "gradient_checkpointing = true: takes 4.21 GB",
        "batch_size = 4, gradient_accumulation = 2: takes 5.36 GB",
        'method = "lora": takes 7.00 GB',
        'method = "qlora": takes 6.58 GB',
        'scale.zero_stage = 2, scale.offload = "optimizer": takes 6.96 GB and 1.61 GB of main memory',
    ]


def test_changes_are_added_up_when_no_single_one_is_enough() -> None:
    asked = job(batch_size=8, max_length=512)
    ways = ways_out(SMOLLM2, asked, 10**9)
    assert len(ways) == 1
    assert ways[0].startswith(
        'method = "lora", batch_size = 1, gradient_accumulation = 8, gradient_checkpointing = true'
    )
    assert ways_out(SMOLLM2, asked, 10**6, devices=8, host_available=10**12) == []
    assert ways_out(SMOLLM2, asked, 10**12) == []


def test_no_way_out_leads_to_what_the_machine_lacks() -> None:
    asked = job("dpo", batch_size=1, max_length=512, gradient_checkpointing=True)
    ways = ways_out(SMOLLM2, asked, total(SMOLLM2, asked) - 10**8)
    assert [way.partition(":")[0] for way in ways] == ["a table [lora]", "lora.quantized_base = true, a table [lora]"]
