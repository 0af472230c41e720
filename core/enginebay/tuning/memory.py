"""What a tuning job will take of memory, estimated before it starts, and the changes that would make it fit.

Each device holds, in bytes, with P weights of which T are trained:

- weights: P x the precision's bytes; under nf4, P x 4.5 bits but for the embedding matrix, which stays in 16 (Dettmers
  et al. 2023, arXiv:2305.14314: 4 bits and a scale for each 64 weights). Adapters and virtual tokens are in 32 bits.
- gradients: T x the precision's bytes.
- optimizer: two moments for each trained weight, 4 bytes each or 1 in 8 bits; weights held in 16 bits are kept in 32 as
  well: the 16 bytes for a weight in mixed precision of Rajbhandari et al. 2020 (arXiv:1910.02054).
- activations, for batch b, length s, hidden width h, a heads, L blocks, vocabulary v, after Korthikanti et al. 2022
  (arXiv:2205.05198), who count with 16 bits:

      for each block       s b h (34 + 5 a s / h)
      with checkpointing   2 s b h for each block, and one whole block, which is computed again
      logits               4 s b v, and their gradient

  In 32 bits the blocks take twice that. Attention that does not keep its scores (flash, memory-efficient: PyTorch's
  own by default) is without the term 5 a s / h. The formula has a feed-forward part of width 4 h, as GELU models do;
  gated ones of width 8/3 h take about as much. Only blocks that a gradient passes through count.

DPO and reward models take two sequences for each example. DPO, KTO and the reinforcement methods hold a reference model
beside the trained one, unless they train adapters: the base without them is the reference. Reinforcement holds a
reward model, PPO a value head. ZeRO shares out what its stage says; in stage 3 a device gathers one block or the
embedding matrix whole at a time, whichever is larger. Fixed costs of the process (libraries, a device's context) are
not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from enginebay.config.sources import leaves
from enginebay.interfaces.tuner import (
    METHOD_SETTINGS,
    LoraSettings,
    MemoryEstimate,
    Offload,
    OptimizerName,
    TuningJob,
    TuningMethod,
)
from enginebay.models.info import ModelInfo

NF4_BITS = 4.5
_FLOAT32 = 4
_LORA_DEFAULTS = LoraSettings().model_dump(mode="json")

_PAIRS = frozenset({TuningMethod.DPO, TuningMethod.REWARD})
_REFERENCE = frozenset({TuningMethod.DPO, TuningMethod.KTO, TuningMethod.RLOO, TuningMethod.GRPO, TuningMethod.PPO})
_REINFORCEMENT = frozenset({TuningMethod.RLOO, TuningMethod.GRPO, TuningMethod.PPO})
_NO_LOGITS = frozenset({TuningMethod.FEATURE_BASED, TuningMethod.REWARD})


def estimate_memory(
    model: ModelInfo, job: TuningJob, *, reward_parameters: int | None = None, scores_kept: bool = False
) -> MemoryEstimate:
    """The bytes that a job will take.

    Args:
        model: the base model; what its weights are stored in does not count, `job.precision` does.
        reward_parameters: weights of the reward model; None takes it to be as large as the base.
        scores_kept: the attention keeps its scores ("eager").
    """
    size = job.precision.bytes
    added = _added_weights(model, job)
    trained = added or _trained_weights(model, job)
    trained_size = _FLOAT32 if added else size
    weights = base_bytes(model, job) + added * _FLOAT32
    if job.method in _REFERENCE and job.lora is None:
        weights += model.parameters * size
    if job.method in _REINFORCEMENT:
        weights += (model.parameters if reward_parameters is None else reward_parameters) * size
    gradients = trained * trained_size
    moments = 2 if job.optimizer.name is OptimizerName.ADAMW_8BIT else 2 * _FLOAT32
    optimizer = trained * (moments + (_FLOAT32 if trained_size < _FLOAT32 else 0))
    gathered = max(_embedding_weights(model), _block_weights(model)) * size
    return _spread(job, weights, gradients, optimizer, _activations(model, job, scores_kept), gathered)


def base_bytes(model: ModelInfo, job: TuningJob) -> int:
    """Bytes of the base model's weights."""
    if not job.quantized_base:
        return model.parameters * job.precision.bytes
    embedding = _embedding_weights(model)
    return embedding * 2 + int((model.parameters - embedding) * NF4_BITS / 8)


def lora_parameters(model: ModelInfo, lora: LoraSettings) -> int:
    """Weights of the adapters: rank x (inputs + outputs) of every adapted matrix in every block.

    A module of an unknown name is taken to be as large as those of the feed-forward part.
    """
    shapes = _linear_layers(model)
    names = lora.target_modules or tuple(shapes)
    return model.layers * lora.rank * sum(sum(shapes.get(name, shapes["up_proj"])) for name in names)


class Machine(NamedTuple):
    """Devices of a machine, and whether it has memory beside theirs."""

    devices: int
    offload: bool


def ways_out(
    model: ModelInfo,
    job: TuningJob,
    available: int,
    *,
    devices: int = 1,
    host_available: int = 0,
    reward_parameters: int | None = None,
) -> list[str]:
    """The changes to a job that make it fit, each with the bytes it would then take, best first.

    Single changes come first; if none is enough, they are added up, in their order, until they are. Empty if nothing
    helps, or if it fits as it is.

    Args:
        available: bytes free on each device.
        devices: how many there are.
        host_available: bytes of main memory that offloading may take; 0 for a device that computes in main memory.
    """

    def fits(changed: TuningJob) -> MemoryEstimate | None:
        estimate = estimate_memory(model, changed, reward_parameters=reward_parameters)
        return estimate if estimate.total <= available and estimate.host <= host_available else None

    def first(changed: Iterable[TuningJob]) -> Iterator[str]:
        for each in changed:
            if estimate := fits(each):
                yield _told(job, each, estimate)
                return

    if fits(job):
        return []
    machine = Machine(devices, offload=host_available > 0)
    found = [way for step in _STEPS for way in first(step(job, machine))]
    return found or list(first(_together(job, machine)))


def _together(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    """The changes added up, one more each time."""
    for step in _STEPS:
        yield from (changes := list(step(job, machine)))
        job = changes[-1] if changes else job


def _told(job: TuningJob, changed: TuningJob, estimate: MemoryEstimate) -> str:
    host = f" and {estimate.host / 1e9:.2f} GB of main memory" if estimate.host else ""
    return f"{', '.join(_differences(job, changed))}: takes {estimate.total / 1e9:.2f} GB{host}"


def _differences(job: TuningJob, changed: TuningJob) -> Iterator[str]:
    """What must be written in the job's file."""
    before, after = (dict(leaves(each.model_dump(mode="json", exclude_none=True))) for each in (job, changed))
    for key, value in after.items():
        if before.get(key) != value and (key[0] != "lora" or value != _LORA_DEFAULTS.get(key[1])):
            yield f"{'.'.join(key)} = {json.dumps(value)}"
    if job.method is changed.method and job.lora is None and changed.lora is not None:
        yield "a table [lora]"


def _changed(job: TuningJob, **changes: Any) -> TuningJob:
    """The job with other settings, held to its rules again."""
    return TuningJob.model_validate({**job.model_dump(), **changes})


def _checkpointing(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    if not job.gradient_checkpointing and job.method is not TuningMethod.FEATURE_BASED:
        yield _changed(job, gradient_checkpointing=True)


def _smaller_batch(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    """Batches that divide the job's, with accumulation up to the same step."""
    whole = job.batch_size * job.gradient_accumulation
    for size in range(job.batch_size - 1, 0, -1):
        if job.batch_size % size == 0:
            yield _changed(job, batch_size=size, gradient_accumulation=whole // size)


def _adapters(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    if job.method in (TuningMethod.FULL, TuningMethod.LAST_LAYERS):
        yield _changed(job, method=TuningMethod.LORA, layers=None)
    elif job.lora is None and job.method in METHOD_SETTINGS["lora"]:
        yield _changed(job, lora={})


def _quantized(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    if job.quantized_base:
        return
    if job.method in (TuningMethod.FULL, TuningMethod.LAST_LAYERS, TuningMethod.LORA):
        yield _changed(job, method=TuningMethod.QLORA, layers=None)
    elif job.method in METHOD_SETTINGS["lora"]:
        lora = job.lora or LoraSettings()
        yield _changed(job, lora=lora.model_copy(update={"quantized_base": True}))


def _zero(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    count = max(machine.devices, job.scale.devices)
    for stage in range(job.scale.zero_stage + 1, 4):
        if count > 1:
            scale = job.scale.model_copy(update={"devices": count, "zero_stage": stage})
            yield _changed(job, scale=scale)


def _offloaded(job: TuningJob, machine: Machine) -> Iterator[TuningJob]:
    if not machine.offload or job.optimizer.name is OptimizerName.ADAMW_8BIT:
        return
    kinds = list(Offload)
    for kind, least in ((Offload.OPTIMIZER, 2), (Offload.PARAMETERS, 3)):
        if kinds.index(kind) > kinds.index(job.scale.offload):
            stage = max(least, job.scale.zero_stage)
            scale = job.scale.model_copy(update={"offload": kind, "zero_stage": stage})
            yield _changed(job, scale=scale)


_STEPS = (_checkpointing, _smaller_batch, _adapters, _quantized, _zero, _offloaded)
"""Changes, best first: those that learn the same on the same device come before those that learn less or need more."""


def _embedding_weights(model: ModelInfo) -> int:
    return min(model.vocabulary * model.embedding_length, model.parameters)


def _block_weights(model: ModelInfo) -> int:
    """Weights of one transformer block; norms, biases and an output matrix of its own are shared out among them."""
    return (model.parameters - _embedding_weights(model)) // max(1, model.layers)


def _linear_layers(model: ModelInfo) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of a block's linear layers, in Llama's names: attention, and a gated feed-forward part whose
    width is what the number of weights leaves for it."""
    hidden = model.embedding_length
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    attention = 2 * hidden * (queries + keys)
    width = max(0, _block_weights(model) - attention) // (3 * hidden) if hidden else 0
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, width),
        "up_proj": (hidden, width),
        "down_proj": (width, hidden),
    }


def _added_weights(model: ModelInfo, job: TuningJob) -> int:
    """Trained weights that stand beside the model, which is frozen then."""
    if job.lora is not None:
        head = model.embedding_length if job.method in (TuningMethod.PPO, TuningMethod.REWARD) else 0
        return lora_parameters(model, job.lora) + head
    return (job.virtual_tokens or 0) * model.embedding_length


def _trained_weights(model: ModelInfo, job: TuningJob) -> int:
    """Trained weights of the model itself."""
    if job.method is TuningMethod.FEATURE_BASED:
        return 0
    if job.layers is not None:
        return min(job.layers, model.layers) * _block_weights(model)
    return model.parameters


def _activations(model: ModelInfo, job: TuningJob, scores_kept: bool) -> int:
    length = job.max_length + (job.virtual_tokens or 0)
    batch = job.batch_size * (2 if job.method in _PAIRS else 1)
    tokens = length * batch
    scale = job.precision.bytes / 2
    scores = 5 * model.heads * length * tokens if scores_kept else 0
    block = int(scale * (34 * tokens * model.embedding_length + scores))
    inputs = int(scale * 2 * tokens * model.embedding_length)
    passed = model.layers if job.layers is None else min(job.layers, model.layers)
    if job.method is TuningMethod.FEATURE_BASED:
        kept = block
    elif job.gradient_checkpointing:
        kept = min(passed * inputs + block, passed * block)
    else:
        kept = passed * block
    if job.method in _REINFORCEMENT:  # answers are written first, with a cache
        kept = max(kept, tokens * model.kv_bytes_per_token(job.precision.bytes))
    logits = 0 if job.method in _NO_LOGITS else 2 * _FLOAT32 * tokens * model.vocabulary
    return kept + logits


def _spread(
    job: TuningJob, weights: int, gradients: int, optimizer: int, activations: int, gathered: int
) -> MemoryEstimate:
    """What one device holds after ZeRO and offloading; `gathered` are weights that it needs whole at a time."""
    stage, devices, offload = job.scale.zero_stage, job.scale.devices, job.scale.offload
    host = 0
    if stage >= 1:
        optimizer = -(-optimizer // devices)
    if stage >= 2:
        gradients = -(-gradients // devices)
    if offload is not Offload.NONE:
        host += (gradients + optimizer) * devices
        gradients = optimizer = 0
    if offload is Offload.PARAMETERS:
        host += weights
        weights = min(weights, gathered)
    elif stage >= 3:
        weights = min(weights, -(-weights // devices) + gathered)
    return MemoryEstimate(weights=weights, gradients=gradients, optimizer=optimizer, activations=activations, host=host)
