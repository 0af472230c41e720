"""The tuner interface: a model that has learned from data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from enginebay.interfaces.jobs import Events
from enginebay.spec import FrozenModel


class TuningMethod(StrEnum):
    """What is trained and on what signal."""

    FEATURE_BASED = "feature_based"
    LAST_LAYERS = "last_layers"
    FULL = "full"
    PROMPT_TUNING = "prompt_tuning"
    LORA = "lora"
    QLORA = "qlora"
    REWARD = "reward"
    DPO = "dpo"
    KTO = "kto"
    RLOO = "rloo"
    GRPO = "grpo"
    PPO = "ppo"


METHOD_SETTINGS: Mapping[str, frozenset[str]] = {
    "layers": frozenset({"last_layers"}),
    "virtual_tokens": frozenset({"prompt_tuning"}),
    "lora": frozenset({"lora", "qlora", "reward", "dpo", "kto", "rloo", "grpo", "ppo"}),
    "preference": frozenset({"dpo", "kto"}),
    "reinforcement": frozenset({"rloo", "grpo", "ppo"}),
}
"""Settings that only some methods have. These cannot be without, but for `lora`, which only lora and qlora need."""

_DEFAULTS: Mapping[str, Any] = {
    "layers": 2,
    "virtual_tokens": 20,
    "lora": {},
    "preference": {},
    "reinforcement": {},
}


class Precision(StrEnum):
    """Type of weights and activations."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    @property
    def bytes(self) -> int:
        """Bytes of one number."""
        return 4 if self is Precision.FLOAT32 else 2


class OptimizerName(StrEnum):
    """Optimizers; the second keeps its moments in 8 bits (Dettmers et al. 2022, arXiv:2110.02861)."""

    ADAMW = "adamw"
    ADAMW_8BIT = "adamw_8bit"


class Schedule(StrEnum):
    """How the learning rate goes on after the warmup: it stays, or falls to 0 at the end."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Offload(StrEnum):
    """What is kept in main memory in place of the device's."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    """Optimizer states and gradients."""
    PARAMETERS = "parameters"
    """These and the weights."""


class OptimizerSettings(FrozenModel):
    """`[optimizer]`.

    Attributes:
        weight_decay: as in AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
        warmup: share of the steps in which the learning rate rises from 0.
        schedule: what it does after.
        max_gradient_norm: gradients are scaled down to this norm; 0 leaves them.
    """

    name: OptimizerName = OptimizerName.ADAMW
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    warmup: float = Field(default=0.0, ge=0, lt=1)
    schedule: Schedule = Schedule.LINEAR
    max_gradient_norm: float = Field(default=1.0, ge=0, allow_inf_nan=False)


class LoraSettings(FrozenModel):
    """`[lora]`: low-rank adapters (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        rank: of the two matrices beside each adapted one.
        alpha: their product is scaled by alpha / rank.
        dropout: share of their input that is dropped.
        target_modules: names of the adapted linear layers ("q_proj"); empty means all in the transformer blocks.
        quantized_base: hold the frozen weights in nf4, for methods other than qlora, which always does.
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = ()
    quantized_base: bool = False


class PreferenceSettings(FrozenModel):
    """`[preference]`: of DPO and KTO.

    Attributes:
        beta: how strongly the model is held to the reference.
    """

    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)


class ReinforcementSettings(FrozenModel):
    """`[reinforcement]`: of RLOO, GRPO and PPO.

    Attributes:
        reward_model: reference of the model that scores answers.
        generations: answers to each prompt.
        max_new_tokens: tokens of an answer.
        beta: weight of the divergence from the reference in the reward.
    """

    reward_model: str
    generations: int = Field(default=4, ge=1)
    max_new_tokens: int = Field(default=128, ge=1)
    beta: float = Field(default=0.05, ge=0, allow_inf_nan=False)


class EvaluationSettings(FrozenModel):
    """`[evaluation]`: measuring on examples that are not trained on.

    Attributes:
        data: JSONL file of them.
        share: of the training examples to hold out, in place of a file.
        every: steps between measurements; 0 measures at the end only.
    """

    data: Path | None = None
    share: float = Field(default=0.0, ge=0, lt=1)
    every: int = Field(default=0, ge=0)

    @field_validator("share")
    @classmethod
    def _one_source(cls, share: float, info: ValidationInfo) -> float:
        if share and info.data.get("data") is not None:
            raise ValueError("examples come from evaluation.data; leave one of the two out")
        return share

    @field_validator("every")
    @classmethod
    def _something_to_measure(cls, every: int, info: ValidationInfo) -> int:
        if every and not info.data.get("share") and info.data.get("data") is None:
            raise ValueError("there is nothing to measure on; give evaluation.data or evaluation.share")
        return every


class ScaleSettings(FrozenModel):
    """`[scale]`: over the devices of one machine.

    Attributes:
        devices: how many train; each takes `batch_size` examples.
        zero_stage: what they share out (Rajbhandari et al. 2020, arXiv:1910.02054): 1 optimizer states, 2 gradients as
            well, 3 weights as well; 0 nothing.
        offload: what main memory holds.
    """

    devices: int = Field(default=1, ge=1)
    zero_stage: int = Field(default=0, ge=0, le=3)
    offload: Offload = Offload.NONE

    @field_validator("offload")
    @classmethod
    def _stage_allows_it(cls, offload: Offload, info: ValidationInfo) -> Offload:
        least = {Offload.NONE: 0, Offload.OPTIMIZER: 1, Offload.PARAMETERS: 3}[offload]
        if info.data.get("zero_stage", least) < least:
            raise ValueError(f"needs scale.zero_stage of {least} or more")
        return offload


class TuningJob(FrozenModel):
    """One tuning job.

    Attributes:
        model: model reference of the base model.
        method: what is trained and how.
        data: JSONL file of training examples, in a shape that the method learns from.
        output: folder that will hold the tuned model; written whole or not at all.
        epochs: passes over the data.
        batch_size: examples that one device takes at a time; for reinforcement, answers.
        gradient_accumulation: such batches of one step.
        learning_rate: after the warmup.
        max_length: tokens of one example.
        precision: of weights and activations; with 16 bits, the optimizer keeps trained weights in 32 bits as well.
        gradient_checkpointing: compute activations again in the backward pass: about a third slower, much smaller.
        seed: of everything random.
        checkpoint_every: steps between checkpoints; 0 makes none.
        layers: for last_layers: transformer blocks that are trained, counted from the end.
        virtual_tokens: for prompt_tuning: length of the trained prompt (Lester et al. 2021, arXiv:2104.08691).
        lora: train adapters; also for reward, preference and reinforcement, which train the whole model without it.
        options: the backend's own options, checked by its options model.

    A setting that the method does not have is refused. One that it needs has its default when left out.
    """

    model: str = Field(min_length=1)
    method: TuningMethod
    data: Path
    output: Path
    epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    batch_size: int = Field(default=4, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0, allow_inf_nan=False)
    max_length: int = Field(default=1024, ge=1)
    precision: Precision = Precision.FLOAT32
    gradient_checkpointing: bool = False
    seed: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=100, ge=0)
    layers: int | None = Field(default=None, ge=1, validate_default=True)
    virtual_tokens: int | None = Field(default=None, ge=1, validate_default=True)
    lora: LoraSettings | None = Field(default=None, validate_default=True)
    preference: PreferenceSettings | None = Field(default=None, validate_default=True)
    reinforcement: ReinforcementSettings | None = Field(default=None, validate_default=True)
    optimizer: OptimizerSettings = OptimizerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    scale: ScaleSettings = ScaleSettings()
    options: dict[str, Any] = {}

    @property
    def quantized_base(self) -> bool:
        """The frozen weights are held in nf4."""
        return self.method is TuningMethod.QLORA or (self.lora is not None and self.lora.quantized_base)

    @field_validator("output")
    @classmethod
    def _not_over_the_base(cls, output: Path, info: ValidationInfo) -> Path:
        if str(output) == info.data.get("model"):
            raise ValueError("is the base model itself; name another folder")
        return output

    @field_validator("gradient_checkpointing")
    @classmethod
    def _there_are_gradients(cls, asked: bool, info: ValidationInfo) -> bool:
        if asked and info.data.get("method") is TuningMethod.FEATURE_BASED:
            raise ValueError("method feature_based computes no gradients; leave it out")
        return asked

    @field_validator(*METHOD_SETTINGS, mode="before")
    @classmethod
    def _the_method_has_it(cls, value: Any, info: ValidationInfo) -> Any:
        method = info.data.get("method")
        if method is None or info.field_name is None:  # told already
            return value
        allowed = METHOD_SETTINGS[info.field_name]
        if value is None:
            needed = {"lora", "qlora"} if info.field_name == "lora" else allowed
            return _DEFAULTS[info.field_name] if method in needed else None
        if method not in allowed:
            names = ", ".join(each for each in TuningMethod if each in allowed)
            raise ValueError(f"method {method} has no such setting; it goes with {names}")
        return value

    @field_validator("lora")
    @classmethod
    def _quantised_by_name(cls, lora: LoraSettings | None, info: ValidationInfo) -> LoraSettings | None:
        if lora is not None and lora.quantized_base and info.data.get("method") is TuningMethod.LORA:
            raise ValueError('LoRA over quantised weights is method = "qlora"')
        return lora

    @field_validator("reinforcement")
    @classmethod
    def _prompts_have_room(
        cls, reinforcement: ReinforcementSettings | None, info: ValidationInfo
    ) -> ReinforcementSettings | None:
        length = info.data.get("max_length")
        if reinforcement is not None and length is not None and reinforcement.max_new_tokens >= length:
            raise ValueError(f"max_new_tokens leaves no room for a prompt within max_length = {length}")
        return reinforcement

    @field_validator("scale")
    @classmethod
    def _offloaded_in_32_bits(cls, scale: ScaleSettings, info: ValidationInfo) -> ScaleSettings:
        optimizer = info.data.get("optimizer")
        if scale.offload is not Offload.NONE and optimizer and optimizer.name is OptimizerName.ADAMW_8BIT:
            raise ValueError('the offloaded optimizer computes in 32 bits; leave optimizer.name = "adamw_8bit" out')
        return scale


class MemoryEstimate(FrozenModel):
    """Bytes that a tuning job will take on each of its devices.

    Attributes:
        weights: of the model and of those that stand beside it (reference, reward model).
        gradients: of trained weights.
        optimizer: moments, and trained weights in 32 bits where they are held in 16.
        activations: what the backward pass needs of the forward pass, logits included.
        host: bytes of main memory that offloading takes, for all devices together; no part of the total.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    host: int = 0

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimizer + self.activations


class TunedModel(FrozenModel):
    """What a tuning job made.

    Attributes:
        path: adapter or model folder.
        is_adapter: it needs the base model beside it.
        fingerprint: see `ModelFingerprint`, as a mapping of its fields.
        measures: final named numbers ("loss", "evaluation_loss").
    """

    path: Path
    base_model: str
    method: TuningMethod
    is_adapter: bool
    fingerprint: Mapping[str, Any] = {}
    measures: dict[str, float] = {}


class Tuner(ABC):
    """A backend that tunes models. It implements `run`; checkpoints go under the job's output folder."""

    @abstractmethod
    def run(self, job: TuningJob, events: Events) -> TunedModel:
        """Run the job, or go on from its last checkpoint.

        Raises:
            JobError: the job failed; earlier checkpoints are intact.
            JobCancelled: `events` asked for it; a checkpoint was written.
        """

    def estimate_memory(self, job: TuningJob) -> MemoryEstimate | None:
        """Bytes the job will take, or None when the backend cannot say."""
        return None
