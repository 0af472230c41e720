"""Modules looked up without importing them, or the packages they stand in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec


def locate(module: str) -> ModuleSpec | None:
    """The module's spec, or None when no finder knows it. Runs nobody's code but the finders'."""
    spec: ModuleSpec | None = None
    path: Sequence[str] | None = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        loaded = sys.modules.get(name)
        spec = _spec_of(name, loaded) if loaded is not None else _find(name, path)
        if spec is None:
            return None
        path = getattr(loaded, "__path__", None) or spec.submodule_search_locations
        if path is None and end < len(parts):
            return None
    return spec


def _spec_of(name: str, loaded: object) -> ModuleSpec:
    """The spec of an imported module; `__main__` and modules made by hand have none of their own."""
    return getattr(loaded, "__spec__", None) or ModuleSpec(name, None)


def _find(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # noqa: BLE001 - a broken finder knows no module
            continue
        if spec is not None:
            return spec
    return None
