"""safetensors to MLC, by its own commands: convert_weight, gen_config and, for a device, compile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from enginebay import ConversionRequest, DeviceKind
from enginebay.errors import ConversionError, ModelFormatError
from enginebay.models.conversion import Report
from enginebay.models.tokenizer import Tokenizer, travelling

CONFIG = "mlc-chat-config.json"
_TEMPLATE = "LM"
"""MLC's template that adds nothing: prompts reach it rendered, by the model's own template."""

_OFF = {
    "temperature": 1.0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


def library_of(folder: Path, kind: DeviceKind) -> Path | None:
    """The compiled library in a model's folder for a device; None when there is none."""
    return next((file for file in sorted(folder.glob(f"model-{kind.value}.*"))), None)


def convert(request: ConversionRequest) -> None:
    """Write an MLC folder: see `write`.

    Raises:
        ConversionError: mlc_llm does not run.
        ModelFormatError: mlc_llm does not know the architecture or the quantization.
    """
    quantization, device = str(request.options["quantization"]), str(request.options["device"])
    write(request.source, request.target, quantization, request.report, device=device)


def write(
    source: Path, target: Path, quantization: str, report: Report, *, device: str = "", threads: int | None = None
) -> None:
    """Write an MLC folder with the weights in `quantization`, the tokenizer and the chat template.

    Args:
        report: progress.
        device: "cuda", "vulkan", "metal" or "rocm" has the model's library compiled as well; without, MLC compiles it
            when the model is opened first.
        threads: cores to use; None leaves that to MLC.

    Raises:
        ConversionError: mlc_llm does not run.
        ModelFormatError: mlc_llm does not know the architecture or the quantization, or the source is broken.
    """
    target.mkdir(parents=True)
    run = partial(_mlc_llm, model=source, threads=threads)
    report(f"converting weights to {quantization}", 0.0)
    run("convert_weight", str(source), "--quantization", quantization, "-o", str(target))
    report("writing the configuration", 0.8)
    run("gen_config", str(source), "--quantization", quantization, "--conv-template", _TEMPLATE, "-o", str(target))
    for name in travelling(source):
        if not (target / name).exists():
            shutil.copyfile(source / name, target / name)
    _tell_ends(target)
    if device:
        report(f"compiling for {device}", 0.85)
        library = target / f"model-{device}{_suffix()}"
        run("compile", str(target / CONFIG), "--device", device, "-o", str(library))
    report("done", 1.0)


def _tell_ends(folder: Path) -> None:
    """Let outputs end where the tokenizer says, and switch off sampling defaults of the model's makers."""
    file = folder / CONFIG
    config = json.loads(file.read_text(encoding="utf-8"))
    template = config.get("conv_template")
    if isinstance(template, dict):
        ends = {"stop_token_ids": sorted(Tokenizer(folder).end), "stop_str": [], "system_prefix_token_ids": None}
        config["conv_template"] = {**template, **ends}
    config |= {name: value for name, value in _OFF.items() if name in config}
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _mlc_llm(*arguments: str, model: Path, threads: int | None) -> None:
    limits = {} if threads is None else {"TVM_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mlc_llm", *arguments], capture_output=True, text=True, env={**os.environ, **limits}
        )
    except OSError as error:
        raise ConversionError(f"mlc_llm does not start: {error}", value=arguments[0]) from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ModelFormatError(
            f"mlc_llm {arguments[0]} failed on {model}: {lines[-1] if lines else f'exit status {done.returncode}'}",
            value=str(model),
            hint="see MLC's list of supported models and quantizations",
        )


def _suffix() -> str:
    return {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
