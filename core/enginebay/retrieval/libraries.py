"""The libraries of the extra `documents`, loaded when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from enginebay.errors import BackendUnavailableError

INSTALL = "pip install 'enginebay[documents]'"


def load(module: str) -> Any:
    """A module of one of the libraries.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise BackendUnavailableError(
            f"the library {name!r} does not load: {error}", value=name, hint=f"install it: {INSTALL}"
        ) from error
