"""Libraries of the core's own extras, loaded when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from enginebay.errors import BackendUnavailableError


def load(module: str, extra: str) -> Any:
    """A module of a library.

    Args:
        extra: the extra of enginebay that brings the library.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise BackendUnavailableError(
            f"the library {name!r} does not load: {error}",
            value=name,
            hint=f"install it: pip install 'enginebay[{extra}]'",
        ) from error
