"""What generator and embedder share of llama.cpp's C API, by llama-cpp-python's bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

from enginebay import DeviceKind, OpenRequest
from enginebay.errors import EngineOpenError
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.opening import device_index, device_layers, model_path, threads
from enginebay_plugins.llama_cpp.options import ModelOptions

_FLASH = {"auto": -1, "off": 0, "on": 1}
_SPLIT_NONE = 0


def load_model(request: OpenRequest, options: ModelOptions) -> Any:
    """Load the weights.

    Raises:
        EngineOpenError: llama.cpp refuses the model; the text has its last log lines.
    """
    LOG.clear()
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(model_path(request)).encode(), _model_params(request, options))
    if not model:
        raise EngineOpenError(
            f"llama.cpp did not open {request.model.path}: {LOG.reason()}",
            value=str(request.model.path),
            hint="verify the file: enginebay models verify",
        )
    return model


def context_params(request: OpenRequest, options: ModelOptions) -> Any:
    """Parameters of a context, all but its size."""
    params = llama_cpp.llama_context_default_params()
    params.n_threads, params.n_threads_batch = threads(request, options)
    params.flash_attn_type = _FLASH[options.flash_attention]
    params.rope_freq_base, params.rope_freq_scale = options.rope_freq_base, options.rope_freq_scale
    params.offload_kqv = params.op_offload = request.device.kind is not DeviceKind.CPU
    params.no_perf = True
    return params


def token_ids(vocabulary: Any, text: str, *, special: bool) -> list[int]:
    """Token ids; special tokens written in the text are parsed as such.

    Args:
        special: put the model's special tokens around the text.
    """
    raw = text.encode()
    room = len(raw) + 2
    buffer = (llama_cpp.llama_token * room)()
    count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), buffer, room, special, True)
    if count < 0:
        buffer = (llama_cpp.llama_token * -count)()
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), buffer, -count, special, True)
    return list(buffer[:count])


def batch_of(tokens: Sequence[int]) -> Any:
    """A batch of tokens that follow what the context holds, with logits wanted after each of them."""
    count = len(tokens)
    # Arrays given as fields are kept alive by the batch.
    return llama_cpp.llama_batch(
        n_tokens=count, token=(llama_cpp.llama_token * count)(*tokens), logits=(ctypes.c_int8 * count)(*[1] * count)
    )


def _model_params(request: OpenRequest, options: ModelOptions) -> Any:
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = device_layers(request, options)
    params.split_mode = _SPLIT_NONE
    params.main_gpu = device_index(request)
    mode = {(True, True): "MMAP_MLOCK", (True, False): "MMAP", (False, True): "MLOCK", (False, False): "NONE"}
    params.load_mode = getattr(llama_cpp, f"LLAMA_LOAD_MODE_{mode[options.mmap, options.mlock]}")
    return params
