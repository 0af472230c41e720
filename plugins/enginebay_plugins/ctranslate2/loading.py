"""Loading a converted model, to generate or to embed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ctranslate2

from enginebay import DeviceKind, OpenRequest
from enginebay.errors import EngineOpenError
from enginebay_plugins.ctranslate2.options import CTranslate2EmbedderOptions


def model_folder(request: OpenRequest) -> Path:
    """The folder of the model.

    Raises:
        EngineOpenError: there is none.
    """
    folder = request.model.path
    if folder is None or not folder.is_dir():
        raise EngineOpenError(f"there is no model folder at {folder}", value=str(folder), hint="see: enginebay models")
    return folder


def load(kind: type[Any], request: OpenRequest, options: CTranslate2EmbedderOptions) -> Any:
    """Load the model as one of CTranslate2's classes.

    Raises:
        EngineOpenError: CTranslate2 refuses the model or the compute type.
    """
    folder = model_folder(request)
    on_cpu = request.device.kind is DeviceKind.CPU
    index = request.device.id.partition(":")[2]
    # It tells on stderr when it takes another compute type; `compute_type` can be read from the engine.
    ctranslate2.set_log_level(logging.ERROR)
    try:
        return kind(
            str(folder),
            device="cpu" if on_cpu else "cuda",
            device_index=int(index) if index.isdigit() else 0,
            compute_type=options.compute_type,
            intra_threads=options.threads or max(1, int(request.cpu.usable_cores)),
            flash_attention=options.flash_attention,
            tensor_parallel=options.tensor_parallel,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise EngineOpenError(
            f"CTranslate2 did not open {folder}: {error}",
            value=str(folder),
            hint="convert the model anew (enginebay convert), or choose another compute_type",
        ) from error
