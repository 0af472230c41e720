"""Documents that are made from the code are up to date."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_parameter_table_is_that_of_the_specs() -> None:
    page = runpy.run_path(str(DOCS / "make_parameters.py"))
    assert (DOCS / "parameters.md").read_text(encoding="utf-8") == page["text"](), "run: make docs"
