"""A STAND-IN for Apache TVM, beside the stand-in for mlc_llm: it claims one Vulkan device."""

from types import SimpleNamespace

__version__ = "0.20.0+standin"


def device(kind: str, index: int = 0) -> SimpleNamespace:
    return SimpleNamespace(exist=kind == "vulkan" and index == 0)
