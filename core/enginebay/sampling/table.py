"""Which backend honours which sampling parameter, and who does it: a table made from the specs."""

from __future__ import annotations

from collections.abc import Sequence

from enginebay.sampling.params import Constraint, SamplingParams
from enginebay.sampling.plan import CONSTRAINT_KINDS, EMULATED
from enginebay.spec import BackendSpec, Feature

NATIVE, EMULATION, REFUSED = "native", "emulated", "refused"

ROWS = (*(name for name in SamplingParams.model_fields if name != "constraint"), *CONSTRAINT_KINDS)
"""Every parameter, and every kind of constraint in place of `constraint`."""


def handling(spec: BackendSpec, name: str) -> str:
    """Who honours a parameter or a kind of constraint on a backend: NATIVE, EMULATION or REFUSED."""
    native = Feature(name) in spec.features if name in Constraint.model_fields else name in spec.sampling
    if native:
        return NATIVE
    return EMULATION if name in EMULATED or Feature.LOGITS in spec.features else REFUSED


def parameter_table(specs: Sequence[BackendSpec]) -> list[tuple[str, ...]]:
    """One row for each parameter: its name, and the handling by each spec."""
    return [(name, *(handling(spec, name) for spec in specs)) for name in ROWS]


def as_markdown(specs: Sequence[BackendSpec]) -> str:
    """The table in Markdown."""
    head = ("parameter", *(f"`{spec.name}`" for spec in specs))
    rows = [(f"`{name}`", *cells) for name, *cells in parameter_table(specs)]
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
