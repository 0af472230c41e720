"""What all backends make of an open request."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from enginebay import DeviceKind, OpenRequest
from enginebay.errors import EngineOpenError
from enginebay_plugins.llama_cpp.options import LoraAdapter, ModelOptions

OptionsT = TypeVar("OptionsT", bound=ModelOptions)

ALL_LAYERS = 1 << 16


def options_of(request: OpenRequest, kind: type[OptionsT]) -> OptionsT:
    """The request's options, defaults when it has none."""
    return request.options if isinstance(request.options, kind) else kind()


def model_path(request: OpenRequest) -> Path:
    """Where the weights are.

    Raises:
        EngineOpenError: the model is not on this machine.
    """
    path = request.model.path
    if path is None or not path.exists():
        raise EngineOpenError(f"there is no model file at {path}", value=str(path), hint="see: enginebay models")
    return path


def threads(request: OpenRequest, options: ModelOptions) -> tuple[int, int]:
    """Threads for decoding and for prompts. They spin, so more than the usable cores would slow all down."""
    decoding = options.threads or max(1, int(request.cpu.usable_cores))
    return decoding, options.batch_threads or decoding


def device_layers(request: OpenRequest, options: ModelOptions) -> int:
    """Layers for the device: none on the CPU; when all fit, also the output, which llama.cpp counts as one more."""
    if options.device_layers is not None:
        return options.device_layers
    if request.device.kind is DeviceKind.CPU:
        return 0
    return ALL_LAYERS if request.device_layers >= request.model.layers else request.device_layers


def device_index(request: OpenRequest) -> int:
    """The number in a device id such as "cuda:1"; 0 where there is none."""
    _, _, number = request.device.id.partition(":")
    return int(number) if number.isdigit() else 0


def check_adapters(adapters: tuple[LoraAdapter, ...]) -> None:
    """Raise EngineOpenError for an adapter that is not there or is no GGUF file: the libraries' own words are vague."""
    for adapter in adapters:
        try:
            with adapter.path.expanduser().open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise EngineOpenError(
                f"cannot read the LoRA adapter {adapter.path}: {error.strerror}", value=str(adapter.path)
            ) from error
        if magic != b"GGUF":
            raise EngineOpenError(
                f"the LoRA adapter {adapter.path} is no GGUF file",
                value=str(adapter.path),
                hint="convert it with llama.cpp's convert_lora_to_gguf.py",
            )


def longest_batch(request: OpenRequest, options: ModelOptions) -> int:
    """Tokens that an embedder must have room for: a text is never read in two, so the longest must fit.

    A multiple of the number of texts: llama.cpp's graph for pooling aborts the process with any other number.
    """
    wanted = max(request.context_length, options.batch_size)
    return -(-wanted // request.streams) * request.streams
