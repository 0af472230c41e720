"""What the commands share: consoles, JSON on stdout, errors on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape

from enginebay.errors import EnginebayError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write `value` as indented JSON to stdout, for programs."""
    if isinstance(value, BaseModel):
        sys.stdout.write(value.model_dump_json(indent=2) + "\n")
    else:
        sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def report(error: EnginebayError) -> None:
    """Write an error to stderr: what happened, then the way out."""
    err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"  [dim]->[/] {escape(error.hint)}", soft_wrap=True)


def format_bytes(count: float) -> str:
    """Bytes for people, in binary units: 1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
