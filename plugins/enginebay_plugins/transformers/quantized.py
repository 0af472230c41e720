"""Models whose weights are quantised already: which library each method needs."""

from __future__ import annotations

from importlib.util import find_spec

from enginebay import ModelInfo
from enginebay.errors import EngineOpenError

LIBRARIES = {
    "bitsandbytes": ("bitsandbytes", "pip install 'enginebay[bitsandbytes]'"),
    "torchao": ("torchao", "pip install 'enginebay[torchao]'"),
    "compressed-tensors": ("compressed_tensors", "pip install compressed-tensors"),
    "gptq": ("gptqmodel", "pip install gptqmodel optimum"),
    "awq": ("gptqmodel", "pip install gptqmodel"),
}
"""Module of the library that transformers loads a method with, and the command that installs it."""


def check_quantization(model: ModelInfo, quantization: str | None) -> None:
    """Look for the library that a quantised model needs.

    Args:
        quantization: the option of that name.

    Raises:
        EngineOpenError: it is not installed, or the model is to be quantised once more.
    """
    method = model.quantization_method
    if not method:
        return
    if quantization is not None:
        raise EngineOpenError(
            f"{model.reference} is quantised already, by {method}", value=quantization, hint="leave the option out"
        )
    library, install = LIBRARIES.get(method, (None, ""))
    if library is not None and find_spec(library) is None:
        raise EngineOpenError(
            f"{model.reference} is quantised by {method}; {library} is not installed", value=method, hint=install
        )
