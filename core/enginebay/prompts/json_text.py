"""JSON as models write it: strict about values, lenient about what stands around it."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL | re.IGNORECASE)
_START = re.compile(r"[{\[]")
MOST_STARTS = 64
"""Places of a text at which a value is looked for; a text of nothing but brackets must not take long."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)
"""Refuses NaN and Infinity, which are no JSON."""


def load_json(text: str) -> Any:
    """The value that the whole text stands for.

    Raises:
        ValueError: it is no JSON, too deep, or has text that no UTF-8 can carry.
    """
    try:
        value = DECODER.decode(text.strip())
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value


def find_json(text: str) -> Any:
    """The first JSON object or array in a text: the whole text, a fenced block, or one among other words.

    Raises:
        ValueError: there is none; the message is that of the first attempt.
    """
    fence = _FENCE.search(text)
    try:
        return load_json(fence[1] if fence else text)
    except ValueError as error:
        failure = error
    for count, start in enumerate(_START.finditer(text)):
        if count == MOST_STARTS:
            break
        try:
            return load_json(text[start.start() : DECODER.raw_decode(text, start.start())[1]])
        except (ValueError, RecursionError):
            continue
    raise failure
