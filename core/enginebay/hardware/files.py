"""Reading the small files in which Linux tells about itself."""

from __future__ import annotations

from pathlib import Path


def read_text(file: Path) -> str:
    """Its text, without blanks at the ends; "" when it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def read_number(file: Path) -> int | None:
    """The whole number in it; None when there is none."""
    return whole(read_text(file))


def whole(text: str) -> int | None:
    """A whole number; None when the text is none."""
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else None
