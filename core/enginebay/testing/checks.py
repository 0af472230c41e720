"""Checks, and running them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from enginebay.errors import EnginebayError
from enginebay.spec import BackendSpec

SubjectT = TypeVar("SubjectT")

LIMIT = 120.0
"""Seconds after which something is taken to hang."""


class RuleBrokenError(AssertionError):
    """A backend breaks a rule of its interface."""


@dataclass(frozen=True)
class Check(Generic[SubjectT]):
    """One rule and the function that checks it.

    Attributes:
        name: of the function, in words.
        rule: first line of the function's docstring.
        run: raises RuleBrokenError, or whatever the backend raises, when the rule is broken.
    """

    name: str
    rule: str
    run: Callable[[SubjectT], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check gave; `problem` is "" when it passed."""

    name: str
    rule: str
    problem: str
    seconds: float


class Checks(Generic[SubjectT]):
    """An ordered list of checks, filled by a decorator."""

    def __init__(self) -> None:
        self._checks: list[Check[SubjectT]] = []

    def __call__(self, function: Callable[[SubjectT], None]) -> Callable[[SubjectT], None]:
        """Add a function; its docstring's first line is the rule."""
        rule = (function.__doc__ or "").strip().splitlines()[0]
        self._checks.append(Check(function.__name__.replace("_", " "), rule, function))
        return function

    def __iter__(self) -> Iterator[Check[SubjectT]]:
        return iter(self._checks)


def require(holds: bool, problem: str) -> None:
    """Raise RuleBrokenError with the problem unless it holds."""
    if not holds:
        raise RuleBrokenError(problem)


def within_limit(call: Callable[[], object], problem: str) -> None:
    """Raise RuleBrokenError with the problem when a call does not return, and whatever it raises."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT)
    require(not thread.is_alive(), problem)
    if failures:
        raise failures[0]


def refused(error: type[EnginebayError], call: Callable[[], object], what: str, *named: str) -> None:
    """Check that a call raises an error whose text names what is wrong."""
    try:
        call()
    except error as caught:
        for name in named:
            if name not in str(caught):
                raise RuleBrokenError(f"the refusal of {what} does not name {name!r}: {caught}") from caught
        return
    raise RuleBrokenError(f"{what} was not refused")


def require_light_import(spec: BackendSpec) -> None:
    """Check that a backend's plugin imports no more than the standard library and what enginebay has imported."""
    package = (spec.factory or "").partition(":")[0].rpartition(".")[0]
    before = "import enginebay as e; e.BackendSpec, e.hookimpl, e.ConverterSpec; old = set(sys.modules)"
    after = "print(*{name.partition('.')[0] for name in set(sys.modules) - old} - sys.stdlib_module_names)"
    code = f"import sys; sys.path[:] = {sys.path!r}; {before}; import {package}; {after}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False)
    require(ran.returncode == 0, f"{package} does not import: {ran.stderr.strip()[-300:]}")
    heavy = set(ran.stdout.split()) - {"enginebay", package.partition(".")[0]}
    require(not heavy, f"importing {package} also imports {', '.join(sorted(heavy))}")


def run_checks(checks: Iterable[Check[SubjectT]], subject: SubjectT) -> Iterator[Outcome]:
    """Run checks one after another, giving each outcome as it comes; a broken rule does not stop the others."""
    for check in checks:
        started = time.perf_counter()
        problem = ""
        try:
            check.run(subject)
        except RuleBrokenError as error:
            problem = str(error)
        except EnginebayError as error:
            problem = f"raised {type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - an engine's own exception is a broken rule, too
            problem = f"let out an exception of its own: {type(error).__name__}: {error}"
        yield Outcome(check.name, check.rule, problem, time.perf_counter() - started)
