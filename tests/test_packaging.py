"""What is shipped: both packages with their types, the entry points, the licence, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"enginebay", "enginebay_plugins"}
    assert {"enginebay/py.typed", "enginebay_plugins/py.typed", "enginebay_plugins/llama_cpp/__init__.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_declares_its_plugins_and_extras(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    points = archive.read(info).decode()
    assert "[enginebay]" in points
    assert "llama_cpp = enginebay_plugins.llama_cpp" in points
    assert "enginebay = enginebay.cli.main:main" in points
    metadata = archive.read(info.replace("entry_points.txt", "METADATA")).decode()
    for extra in ("llama-cpp", "xllamacpp"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_the_wheel_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Unpacked beside the dependencies, without the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = "import enginebay, enginebay_plugins.llama_cpp as p; print(enginebay.__file__, len(list(p.backends())))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "enginebay" / "__init__.py"), "5"]
