"""Quantising while loading: what the quantizers that save by transformers share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from enginebay.errors import JobError, ModelFormatError
from enginebay.interfaces.jobs import Events, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.quietly import quietly
from enginebay.models.safetensors import read_json
from enginebay.models.tokenizer import travelling


def check_unquantized(folder: Path) -> None:
    """Look whether the weights of a folder are as they were trained.

    Raises:
        ModelFormatError: config.json tells of a method that they are quantised by.
    """
    told = read_json(folder / "config.json").get("quantization_config")
    if told:
        method = told.get("quant_method", "another method") if isinstance(told, dict) else told
        raise ModelFormatError(
            f"the weights of {folder} are quantised already, by {method}",
            value=str(folder),
            hint="start from the model as it was before",
        )


def load_for_quantizing(job: QuantizationJob, **arguments: Any) -> Any:
    """The job's model, loaded on the CPU by transformers.

    Args:
        arguments: passed to `from_pretrained`: the type that weights are held in, a quantization config.

    Raises:
        ModelFormatError: the weights are quantised already, transformers cannot load them, or some of a generator are
            missing.
        JobError: a library that transformers needs for it does not load.
    """
    import torch
    from transformers import AutoModelForCausalLM

    check_unquantized(job.model)
    torch.set_num_threads(job.threads)
    with quietly():
        try:
            model, told = AutoModelForCausalLM.from_pretrained(
                job.model, local_files_only=True, output_loading_info=True, **arguments
            )
        except ImportError as error:
            raise JobError(f"a library does not load: {error}", value=job.to, hint="see: enginebay doctor") from error
        except Exception as error:
            raise ModelFormatError(
                f"transformers cannot load {job.model}: {str(error).strip() or type(error).__name__}",
                value=str(job.model),
                hint="verify the folder: enginebay models verify",
            ) from error
    if missing := sorted(told["missing_keys"]):
        raise ModelFormatError(
            f"{job.model} is no generator, or not a whole one: it lacks {missing[0]}"
            + (f" and {len(missing) - 1} more weights" if missing[1:] else ""),
            value=missing,
            hint="give a model that generates text",
        )
    return model


def save_quantized(model: Any, job: QuantizationJob) -> None:
    """Write a model that transformers knows to be quantised to the job's output, with what travels with the weights.

    Raises:
        JobError: the library cannot write it.
    """
    from transformers import GenerationConfig

    if (job.model / "generation_config.json").exists():
        model.generation_config = GenerationConfig()  # the source's own is copied; transformers refuses some of them
    with quietly():
        try:
            model.save_pretrained(job.output)
        except Exception as error:
            raise JobError(
                f"the model could not be written as {job.to}: {str(error).strip() or type(error).__name__}",
                value=str(job.output),
            ) from error
    copy_files(job.model, job.output)


def copy_files(source: Path, target: Path) -> None:
    """Copy what must travel with the weights: tokenizer, chat template, generation settings."""
    for name in travelling(source):
        shutil.copyfile(source / name, target / name)


def quantize_while_loading(job: QuantizationJob, events: Events, config: Any, **arguments: Any) -> None:
    """Load, quantise tensor by tensor, and save.

    Args:
        config: transformers' quantization config.
        arguments: see `load_for_quantizing`.

    Raises:
        ModelFormatError, JobError: see `load_for_quantizing` and `save_quantized`.
    """
    events(JobEvent("quantize", 0, 2, message=f"loading and quantising to {job.to}"))
    model = load_for_quantizing(job, quantization_config=config, device_map={"": "cpu"}, **arguments)
    events(JobEvent("write", 1, 2, message="writing"))
    save_quantized(model, job)
    events(JobEvent("done", 2, 2, message="done"))
