"""Quantising by LLM Compressor: layer after layer, by what a calibration text makes of its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.logger import LoggerConfig, configure_logger
from llmcompressor.pipelines.cache import IntermediatesCache

from enginebay import Quantizer
from enginebay.errors import JobError
from enginebay.interfaces.jobs import Events, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.saving import load_for_quantizing, save_quantized
from enginebay.models.tokenizer import Tokenizer
from enginebay_plugins.llm_compressor.options import LlmCompressorOptions
from enginebay_plugins.llm_compressor.recipes import recipe


class LlmCompressorQuantizer(Quantizer):
    """Makes gptq_int4 (https://arxiv.org/abs/2210.17323), awq_int4 (https://arxiv.org/abs/2306.00978) and int8.

    int8 rounds weights with a scale for each row; activations get one for each token as they come. GPTQ gains nothing
    there (perplexity 25.3 against 25.1 by rounding, SmolLM2-135M), and takes minutes.
    """

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`.

        Raises:
            JobError: there is no calibration text, it is too short, or the model's rows fit no group size.
        """
        options = job.options_as(LlmCompressorOptions)
        configure_logger(LoggerConfig(disabled=True))
        samples = [] if job.to == "int8" else calibration_samples(job, options)
        events(JobEvent("load", 0, 3, message="loading"))
        model = load_for_quantizing(job, dtype=options.dtype)
        modifiers = recipe(job.to, _columns(model), options.group_size)
        events(JobEvent("quantize", 1, 3, message=f"quantising to {job.to}"))
        with _unpinned():
            _compress(model, modifiers, samples, job)
        events(JobEvent("write", 2, 3, message="writing"))
        save_quantized(model, job)
        events(JobEvent("done", 3, 3, message="done"))


def calibration_samples(job: QuantizationJob, options: LlmCompressorOptions) -> list[list[int]]:
    """Token ids of the calibration text, in pieces of one length.

    Raises:
        JobError: there is none, or it is shorter than a piece.
    """
    if job.calibration is None:
        raise JobError(f"{job.to} needs a calibration text", value=job.to, hint="give a plain text file")
    tokens = Tokenizer(job.model).encode(Path(job.calibration).read_text(encoding="utf-8"))
    length = options.sample_tokens
    pieces = [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)]
    if not pieces:
        raise JobError(
            f"the calibration text has {len(tokens)} tokens, a sample takes {length}",
            value=len(tokens),
            hint="give a longer text, or the option sample_tokens",
        )
    return pieces[: options.samples]


def _columns(model: Any) -> set[int]:
    return {
        module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }


def _compress(model: Any, modifiers: list[Any], samples: list[list[int]], job: QuantizationJob) -> None:
    arguments: dict[str, Any] = {}
    if samples:
        rows = {"input_ids": samples, "attention_mask": [[1] * len(sample) for sample in samples]}
        arguments = {
            "dataset": Dataset.from_dict(rows),
            "num_calibration_samples": len(samples),
            "max_seq_length": len(samples[0]),
            "shuffle_calibration_samples": False,
        }
    try:
        oneshot(model=model, recipe=modifiers, **arguments)
    except Exception as error:
        raise JobError(
            f"LLM Compressor did not make {job.to}: {str(error).strip() or type(error).__name__}",
            value=str(job.model),
        ) from error


@contextmanager
def _unpinned() -> Iterator[None]:
    """AWQ pins memory for a GPU, and asks nobody whether there is one (seen in LLM Compressor 0.14)."""
    if torch.accelerator.is_available():
        yield
        return
    with patch.object(IntermediatesCache, "pin_memory", lambda *arguments: None):
        yield
