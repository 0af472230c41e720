"""A STAND-IN for mlc_llm, for enginebay's tests: MLC's wheels are on no package index. It is not MLC.

It has the documented names and signatures of mlc_llm's Python API (AsyncMLCEngine, EngineConfig, the commands
convert_weight, gen_config and compile), computes by transformers on the CPU, and samples by enginebay's own reference.
It shows that enginebay calls that interface as documented; it shows nothing of MLC itself.
"""

from typing import Any

__version__ = "0.20.0+standin"
__all__ = ["AsyncMLCEngine"]


def __getattr__(name: str) -> Any:
    """The engine when it is asked for: the commands do without torch."""
    if name != "AsyncMLCEngine":
        raise AttributeError(name)
    from mlc_llm.engine import AsyncMLCEngine

    return AsyncMLCEngine
