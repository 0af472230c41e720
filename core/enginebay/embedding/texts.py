"""What may be embedded."""

from __future__ import annotations

from collections.abc import Iterable

from enginebay.errors import InvalidParameterError


def checked_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list.

    Raises:
        InvalidParameterError: it is one text, or something in it is no text that can be encoded; named by its place.
    """
    if isinstance(texts, str | bytes):
        raise InvalidParameterError(
            f"texts is one text, {texts[:40]!r}", value=texts, hint="give a list of texts, or take embed_query"
        )
    try:
        given = list(texts)
    except TypeError as error:
        raise InvalidParameterError(f"texts is {type(texts).__name__}, not a list of texts", value=texts) from error
    return [checked_text(text, f"text {place}") for place, text in enumerate(given)]


def checked_text(text: str, name: str) -> str:
    """The text.

    Args:
        name: what the error calls it.

    Raises:
        InvalidParameterError: it is none, or cannot be encoded.
    """
    if not isinstance(text, str):
        raise InvalidParameterError(
            f"{name} is {text!r:.60}, a {type(text).__name__}, not a text", value=text, hint="give strings"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidParameterError(
            f"{name} has half a surrogate pair at {error.start}", value=text, hint="decode it as UTF-8 or UTF-16"
        ) from error
    return str(text)
