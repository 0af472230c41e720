"""Tests of services themselves run when they are asked for, by `make test-live`, and never with all the others."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whatever the environment says of servers and keys."""
    here = Path(__file__).parent
    asked = (Path(given.partition("::")[0]).resolve() for given in config.args)
    return None if any(one.is_relative_to(here) for one in asked) else True
