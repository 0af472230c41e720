"""The tuner interface: a model that has learned from data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

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


class TuningJob(FrozenModel):
    """One tuning job.

    Attributes:
        model: model reference of the base model.
        data: JSONL file of training examples.
        evaluation_data: JSONL file held out, or None.
        method: what is trained and how.
        output: folder that will hold the tuned model; written whole or not at all.
        epochs, batch_size, learning_rate, seed: as everywhere in the field.
        max_length: tokens of one example.
        checkpoint_every: steps between checkpoints; 0 makes none.
        options: the backend's own options, checked by its options model.
    """

    model: str
    data: Path
    evaluation_data: Path | None = None
    method: TuningMethod
    output: Path
    epochs: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    max_length: int = Field(default=1024, ge=1)
    seed: int = 0
    checkpoint_every: int = Field(default=100, ge=0)
    options: dict[str, Any] = {}


class MemoryEstimate(FrozenModel):
    """Bytes that a tuning job will take on its device."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

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
