"""What each type is to LLM Compressor: a list of its modifiers."""

from __future__ import annotations

from typing import Any

from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier

from enginebay.errors import JobError

LAYERS = {"targets": ["Linear"], "ignore": ["lm_head"]}
"""What is quantised: every linear layer but the output."""

GROUPS = (128, 64, 32)


def recipe(to: str, columns: set[int], group_size: int | None) -> list[Any]:
    """The modifiers of a type.

    Args:
        columns: lengths of the rows that are to be quantised.
        group_size: as in the options.

    Raises:
        JobError: no group size divides the rows.
    """
    if to == "int8":
        return [QuantizationModifier(scheme="W8A8", **LAYERS)]
    size = _group_size(columns, group_size)
    if to == "gptq_int4":
        return [GPTQModifier(**_in_groups(size, symmetric=True, actorder="static"))]
    return [AWQModifier(), QuantizationModifier(**_in_groups(size, symmetric=False))]


def _in_groups(size: int, **more: Any) -> dict[str, Any]:
    """Weights of 4 bits that share a scale in groups; activations stay as they are."""
    weights = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=size, **more)
    scheme = QuantizationScheme(targets=LAYERS["targets"], weights=weights)
    return {"config_groups": {"group_0": scheme}, "ignore": LAYERS["ignore"]}


def _group_size(columns: set[int], wanted: int | None) -> int:
    sizes = GROUPS if wanted is None else (wanted,)
    for size in sizes:
        if not any(length % size for length in columns):
            return size
    odd = min(length for length in columns if length % sizes[-1])
    raise JobError(
        f"rows of {odd} weights are no multiple of the group size {sizes[-1]}",
        value=wanted,
        hint="take int8, which has a scale for each row" if wanted is None else "take a smaller group_size",
    )
