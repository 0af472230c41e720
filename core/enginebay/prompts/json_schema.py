"""JSON schemas as models should read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BY_NAME = ("properties", "$defs", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def tidy_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without the titles that pydantic makes up, its objects closed to names it does not know.

    Small models copy such titles into their answers, and fill open objects with names of their own.
    """
    tidy: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME:
            tidy[key] = {name: _tidy(part) for name, part in value.items()}
        elif key in _LISTS:
            tidy[key] = [_tidy(part) for part in value]
        elif key in _SINGLE:
            tidy[key] = _tidy(value)
        elif key != "title":
            tidy[key] = value
    if "properties" in tidy:
        tidy.setdefault("additionalProperties", False)
    return tidy


def _tidy(part: Any) -> Any:
    return tidy_schema(part) if isinstance(part, Mapping) else part
