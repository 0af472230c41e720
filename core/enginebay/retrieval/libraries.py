"""The libraries of the extra `documents`, loaded when they are needed."""

from __future__ import annotations

from typing import Any

from enginebay import libraries


def load(module: str) -> Any:
    """A module of one of the libraries.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    return libraries.load(module, "documents")
