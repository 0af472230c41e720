"""Why a plugin is not taken: reasons and ways out, in words fit for one line of a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError


class Quarantine(Exception):
    """Raised while a plugin is being loaded; becomes its record."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def clean(text: object, limit: int = 400) -> str:
    """Text of a stranger on one line: control characters become spaces, and it ends after `limit` characters."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in str(text)[: 4 * limit]).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def describe(error: BaseException) -> str:
    """Type, message and place of an exception, whatever its `__str__` does."""
    kind = type(error).__name__
    try:
        message = clean(error)
    except Exception:  # noqa: BLE001 - a stranger's __str__
        message = ""
    place = "" if isinstance(error, SyntaxError) else _place(error.__traceback__)
    return f"{kind}: {message}{place}" if message else f"{kind}{place}"


def bad_spec(error: ValidationError) -> str:
    """The first thing that is wrong with a spec, its field named."""
    first, *more = error.errors(include_url=False, include_context=False)
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    rest = f" (and {len(more)} more)" if more else ""
    what = clean(f"{error.title}: field {where}: {first['msg']}, got {first.get('input')!r}")
    return f"bad spec: {what}{rest}{_place(error.__traceback__)}"


def _place(trace: TracebackType | None) -> str:
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith("<") and not _is_passage(code.co_filename):
            place = f" ({'/'.join(Path(code.co_filename).parts[-2:])}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _is_passage(filename: str) -> bool:
    """The loader itself, importlib and pydantic: frames that every such traceback passes through."""
    folder = Path(filename).parent
    return folder == Path(__file__).parent or folder.name in ("importlib", "pydantic")


def way_out(distribution: str, plugin: str) -> str:
    """What always helps."""
    off = f'switch it off: deny = ["{plugin}"] under [plugins] in the configuration'
    return f"upgrade it (pip install --upgrade {distribution}), uninstall it, or {off}" if distribution else off


def import_failed(error: BaseException, module: str, distribution: str) -> Quarantine:
    """The record of a plugin whose module did not import."""
    if isinstance(error, SystemExit):
        return Quarantine(f"calls sys.exit({error.code!r}) at import{_place(error.__traceback__)}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        if module == error.name or module.startswith(f"{error.name}."):
            return Quarantine(
                f"the module {module!r} is not there", f"reinstall it: pip install --force-reinstall {distribution}"
            )
        return Quarantine(
            f"a dependency is missing: {describe(error)}",
            f"install what it needs: pip install --upgrade {distribution} (it must bring {error.name!r})",
        )
    if isinstance(error, ValidationError):
        return Quarantine(bad_spec(error))
    if isinstance(error, SyntaxError):
        python = ".".join(map(str, sys.version_info[:2]))
        return Quarantine(f"raises at import: {describe(error)}", f"it may be made for another Python than {python}")
    return Quarantine(f"raises at import: {describe(error)}")
