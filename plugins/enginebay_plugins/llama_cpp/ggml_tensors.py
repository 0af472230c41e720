"""A view of ggml's tensors (ggml.h, struct ggml_tensor), which llama-cpp-python does not wrap."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llama_cpp._ggml import libggml
from numpy.typing import NDArray

from enginebay.errors import JobError

_DIMENSIONS, _SOURCES, _PARAMS, _NAME = 4, 10, 16, 64
F32 = 0
_NUMPY = {F32: np.dtype(np.float32), 26: np.dtype(np.int32)}
"""By ggml's types, those that are read here."""


class GgmlTensor(ctypes.Structure):
    """struct ggml_tensor. `ne` are its dimensions, fastest first, `nb` their strides in bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * _DIMENSIONS),
        ("nb", ctypes.c_size_t * _DIMENSIONS),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * _PARAMS),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * _SOURCES),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * _NAME),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


class _InitParams(ctypes.Structure):
    """struct ggml_init_params."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(libggml, name)
    function.restype, function.argtypes = result, list(arguments)
    return function


_init = _function("ggml_init", ctypes.c_void_p, _InitParams)
_free = _function("ggml_free", None, ctypes.c_void_p)
_new_2d = _function(
    "ggml_new_tensor_2d", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64
)
_mul_mat = _function("ggml_mul_mat", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_set_name = _function("ggml_set_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_op_desc = _function("ggml_op_desc", ctypes.c_char_p, ctypes.c_void_p)
_nbytes = _function("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
_get = _function("ggml_backend_tensor_get", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)


def tensor_at(address: int) -> GgmlTensor:
    """The tensor at an address."""
    return GgmlTensor.from_address(address)


def operation(address: int) -> str:
    """What makes the tensor ("MUL_MAT"), "NONE" for weights."""
    return str(_op_desc(address).decode())


def values(address: int) -> NDArray[Any]:
    """A copy of a tensor's numbers, float32 or int32, wherever they are; the dimensions slowest first."""
    tensor = tensor_at(address)
    buffer = np.empty(_nbytes(address), dtype=np.uint8)
    _get(address, buffer.ctypes.data, 0, buffer.nbytes)
    shape, strides = tuple(reversed(tensor.ne)), tuple(reversed(tensor.nb))
    return np.ndarray(shape, _NUMPY[tensor.type], buffer.data, strides=strides)


def check_layout() -> None:
    """Look whether a product of two known matrices is seen as what it is.

    Raises:
        JobError: this build of ggml lays tensors out in another way.
    """
    context = _init(_InitParams(1 << 20, None, False))
    try:
        weight, inputs = _new_2d(context, F32, 48, 3), _new_2d(context, F32, 48, 5)
        _set_name(weight, b"blk.0.known.weight")
        product = _mul_mat(context, weight, inputs)
        seen, whole = tensor_at(weight), tensor_at(product)
        sound = (
            (seen.name, seen.type, tuple(seen.ne), tuple(seen.nb)) == _KNOWN
            and (whole.src[0], whole.src[1], whole.src[2]) == (weight, inputs, None)
            and tuple(whole.ne) == (3, 5, 1, 1)
            and operation(product) == "MUL_MAT"
        )
    finally:
        _free(context)
    if not sound:
        raise JobError(
            "this build of llama.cpp lays its tensors out in a way that enginebay does not know: "
            "no importance matrix can be made",
            hint="take another version of llama-cpp-python, or a type that needs no importance matrix",
        )


_KNOWN = (b"blk.0.known.weight", F32, (48, 3, 1, 1), (4, 192, 576, 576))
