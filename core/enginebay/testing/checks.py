"""Checks, and running them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from enginebay.errors import EnginebayError

SubjectT = TypeVar("SubjectT")


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
