"""Text out of bytes whose encoding nobody told."""

from __future__ import annotations

import codecs
import re

from enginebay.errors import DocumentError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_CONTROL = re.compile(r"[\x01-\x07\x0b\x0e-\x1a\x1c-\x1f]")
"""Characters that no text has."""


def decode(data: bytes) -> str:
    """The text, its lines ended by a line feed alone.

    A byte order mark decides; without one it is UTF-8 if it can be, else what charset-normalizer finds.

    Raises:
        DocumentError: it is no text.
    """
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    if marked is None and b"\0" in data:
        raise DocumentError("it is binary: there are zero bytes in it")
    try:
        text = data.decode(marked or "utf-8")
    except UnicodeDecodeError as error:
        if marked is not None:
            raise DocumentError(f"it is marked as {marked.removesuffix('-sig').upper()} and is not: {error}") from error
        text = _guessed(data)
    if "\0" in text:
        raise DocumentError("it is binary: there are zero bytes in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guessed(data: bytes) -> str:
    from enginebay.retrieval.libraries import load

    found = load("charset_normalizer").from_bytes(data).best()
    if found is None or _CONTROL.search(str(found)):
        raise DocumentError("it is binary, or of an encoding that cannot be told", hint="save it as UTF-8")
    return str(found)
