"""JSON schemas for checking constraints: small, and with an end, so that any model finishes them."""

from __future__ import annotations

from random import Random
from typing import Any

NAMES = ("name", "age", "city", "ok", "kind", "size", "tags", "price", "unit", "note")
WORDS = ("red", "green", "blue", "small", "large", "yes", "no", "metre", "gram", "naïve", "日本", "a b")


def schemas(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """So many schemas, the same for the same seed: objects, arrays, enums, bounded numbers and strings, nested."""
    random = Random(seed)
    return [_schema(random, depth=2) for _ in range(count)]


def _schema(random: Random, depth: int) -> dict[str, Any]:
    kinds = [_boolean, _integer, _enum, _const, _string, _pattern, _nullable]
    if depth:
        kinds += [_object, _object, _object, _array, _any_of]
    make = random.choice(kinds)
    return make(random, depth)


def _boolean(random: Random, depth: int) -> dict[str, Any]:
    return {"type": "boolean"}


def _integer(random: Random, depth: int) -> dict[str, Any]:
    low = random.randint(-20, 20)
    return {"type": "integer", "minimum": low, "maximum": low + random.randint(0, 90)}


def _enum(random: Random, depth: int) -> dict[str, Any]:
    return {"enum": random.sample([*WORDS, 1, 2.5, None, True], random.randint(1, 4))}


def _const(random: Random, depth: int) -> dict[str, Any]:
    return {"const": random.choice(WORDS)}


def _string(random: Random, depth: int) -> dict[str, Any]:
    return {"type": "string", "minLength": random.randint(0, 2), "maxLength": random.randint(2, 6)}


def _pattern(random: Random, depth: int) -> dict[str, Any]:
    return {
        "type": "string",
        "pattern": random.choice(("^[a-z]{2,4}$", "^[0-9]{3}$", "^(ab|cd)$", "^[A-Z][a-z]{1,3}$")),
    }


def _nullable(random: Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, _integer(random, depth)]}


def _object(random: Random, depth: int) -> dict[str, Any]:
    names = random.sample(NAMES, random.randint(1, 3))
    return {
        "type": "object",
        "properties": {name: _schema(random, depth - 1) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _array(random: Random, depth: int) -> dict[str, Any]:
    low = random.randint(0, 1)
    return {"type": "array", "items": _schema(random, 0), "minItems": low, "maxItems": low + random.randint(0, 2)}


def _any_of(random: Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_schema(random, 0), _object(random, depth)]}
