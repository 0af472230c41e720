"""Entry points are read as Python reads them, and garbage is a reason, never an exception."""

from __future__ import annotations

import string
from importlib.metadata import Distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dummy_plugins import install
from enginebay.plugins.discovery import Found, discover, entries_in

NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=20)
MODULES = st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,3}", fullmatch=True)


@given(st.text(max_size=300))
def test_any_text_gives_entries_fit_for_a_terminal(text: str) -> None:
    for entry in entries_in(f"[enginebay]\n{text}", "some-plugin", "1.0", None):
        assert entry.name
        assert entry.name.isprintable()
        assert entry.problem is None or entry.problem.isprintable()
        assert entry.problem is not None or entry.module


@given(st.dictionaries(NAMES, MODULES, max_size=5), st.dictionaries(NAMES, MODULES, max_size=5))
def test_well_formed_files_are_read_as_python_reads_them(own: dict[str, str], others: dict[str, str]) -> None:
    lines = ["[console_scripts]", *(f"{name} = {module}:main" for name, module in others.items())]
    lines += ["", "[enginebay]", "# a comment", *(f"{name} = {module}" for name, module in own.items())]
    text = "\n".join(lines)
    with TemporaryDirectory() as folder:
        (Path(folder) / "entry_points.txt").write_text(text)
        entry_points = Distribution.at(folder).entry_points.select(group="enginebay")
    expected = {(entry.name, entry.module) for entry in entry_points}
    found = entries_in(text, "some-plugin", "1.0", None)
    assert {(entry.name, entry.module) for entry in found} == expected
    assert all(entry.problem is None for entry in found)


def test_order_is_total_and_independent_of_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, names in (("one", ("b", "c")), ("two", ("a", "d"))):
        for name in names:
            install(tmp_path / folder, name)
    install(tmp_path / "two", "b", distribution="Another.Dist", module="other")
    orders = []
    for path in (["one", "two"], ["two", "one"]):
        monkeypatch.setattr("sys.path", [str(tmp_path / folder) for folder in path])
        orders.append([(entry.name, entry.distribution) for entry in discover()])
    assert orders[0] == orders[1]
    assert [name for name, _ in orders[0]] == ["a", "b", "b", "c", "d"]
    assert orders[0][1][1] == "Another.Dist"


def test_owner_is_named_with_its_version() -> None:
    assert Found("a", "b", "my-dist", "1.2").owner == "my-dist 1.2"
    assert Found("a", "b", "my-dist", "").owner == "my-dist"
