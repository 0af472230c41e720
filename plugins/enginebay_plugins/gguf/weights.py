"""Weights of safetensors files as float32, one at a time: models need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import ModelFormatError
from enginebay.models.safetensors import Tensor, read_safetensors, weight_files

Floats = NDArray[np.float32]
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}


class Weights(Mapping[str, Floats]):
    """The tensors of a model's folder by name, each read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._found: dict[str, tuple[Path, Tensor]] = {
            tensor.name: (file, tensor) for file in weight_files(folder) for tensor in read_safetensors(file)
        }

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self._found[name][1].shape

    def dtype(self, name: str) -> str:
        """Type of a tensor, as safetensors names it."""
        return self._found[name][1].dtype

    def __getitem__(self, name: str) -> Floats:
        """A tensor as float32.

        Raises:
            ModelFormatError: it is of no plain floating type.
        """
        file, tensor = self._found[name]
        raw = np.memmap(file, np.uint8, "r", tensor.start, (tensor.end - tensor.start,))
        if tensor.dtype == "BF16":
            # bfloat16 is the upper half of float32.
            values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif tensor.dtype in _TYPES:
            values = raw.view(_TYPES[tensor.dtype]).astype(np.float32)
        else:
            raise ModelFormatError(
                f"the tensor {name!r} of {file} is of type {tensor.dtype}; floating types can be converted",
                value=tensor.dtype,
                hint="take the model's weights before they were quantized",
            )
        return values.reshape(tensor.shape)
