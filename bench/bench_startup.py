"""What starting costs: imports and commands, with 50 plugins installed, as the best of many runs.

    python bench/bench_startup.py [--runs 15] [--plugins 50] [--json FILE]

Ends with exit code 1 when a limit is exceeded. Where the PyPI package `llm` is installed, its import and `--version`
are measured beside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from dummy_plugins import install_many

CLI = ("-m", "enginebay.cli.main")


@dataclass(frozen=True)
class Case:
    """A command line after `python`, and the most milliseconds it may take."""

    name: str
    arguments: tuple[str, ...]
    limit_ms: float | None = None


@dataclass(frozen=True)
class Result:
    """Best and median wall time of one case, in milliseconds."""

    name: str
    best_ms: float
    median_ms: float
    limit_ms: float | None
    ok: bool


def cases() -> list[Case]:
    """What is measured."""
    load = "from enginebay.plugins import load_plugins; load_plugins()"
    found = [
        Case("bare python", ("-c", "pass")),
        Case("import enginebay", ("-c", "import enginebay"), 120),
        Case("enginebay --version", (*CLI, "--version"), 150),
        Case("enginebay --help", (*CLI, "--help")),
        Case("enginebay plugins", (*CLI, "plugins")),
        Case("load_plugins()", ("-c", load)),
    ]
    if find_spec("llm"):
        found += [
            Case("peer: import llm", ("-c", "import llm")),
            Case("peer: llm --version", ("-m", "llm", "--version")),
        ]
    return found


def measure(cases: list[Case], runs: int, environment: dict[str, str]) -> list[Result]:
    """Run the cases in turn, so that a busy moment of the machine hits all alike."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(runs + 1):
        for case in cases:
            started = time.perf_counter()
            # No timeout: with one, Python polls the child, in steps of up to 50 ms.
            subprocess.run([sys.executable, *case.arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
            if number:  # the first run fills the caches
                seconds[case.name].append(time.perf_counter() - started)
    return [_result(case, sorted(seconds[case.name])) for case in cases]


def _result(case: Case, seconds: list[float]) -> Result:
    best = round(seconds[0] * 1000, 1)
    median = round(seconds[len(seconds) // 2] * 1000, 1)
    return Result(case.name, best, median, case.limit_ms, case.limit_ms is None or best <= case.limit_ms)


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--plugins", type=int, default=50, help="dummy plugins to install")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        install_many(root / "site", arguments.plugins)
        own = {f"ENGINEBAY_{kind}_DIR": str(root / kind.lower()) for kind in ("CACHE", "DATA", "CONFIG")}
        environment = os.environ | own | {"PYTHONPATH": str(root / "site")}
        results = measure(cases(), arguments.runs, environment)
    print(f"{'':24} {'best':>9} {'median':>9} {'limit':>9}")
    for result in results:
        limit = "" if result.limit_ms is None else f"{result.limit_ms:.0f} ms"
        verdict = "" if result.ok else "  TOO SLOW"
        print(f"{result.name:24} {result.best_ms:6.0f} ms {result.median_ms:6.0f} ms {limit:>9}{verdict}")
    if arguments.json:
        record = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "plugins": arguments.plugins,
            "runs": arguments.runs,
            "results": [asdict(result) for result in results],
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
