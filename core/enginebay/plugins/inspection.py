"""What can be told only by importing; these functions run in a child process."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from enginebay.plugins.quarantine import describe


def inspect_backend(factory: str | None, options: str | None, check: str | None) -> dict[str, Any]:
    """Import what a spec names and run its check.

    Returns:
        `report`: the check's `RuntimeReport` as JSON data, or None; `problems`: what is wrong, in sentences.
    """
    problems: list[str] = []
    report: dict[str, Any] | None = None
    for role, target in (("check", check), ("factory", factory), ("options", options)):
        if target is None:
            continue
        try:
            found = _resolve(target)
            if role == "check":
                report = found().model_dump(mode="json")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to a person
            problems.append(f"{role} {target}: {describe(error)}")
    return {"report": report, "problems": problems}


def try_import(module: str) -> bool:
    """Import a module, whatever it raises: to return at all is the answer."""
    with suppress(BaseException):
        import_module(module)
    return True


def _resolve(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
