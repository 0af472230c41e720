"""Grammars in GBNF, llama.cpp's format, for constraints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from enginebay import Constraint
from enginebay.errors import InvalidParameterError


def constraint_grammar(constraint: Constraint, schema_to_grammar: Callable[[str], str]) -> str:
    """The grammar of a constraint.

    Args:
        schema_to_grammar: the library's own conversion from JSON schema, as text.

    Raises:
        InvalidParameterError: the schema cannot be expressed.
    """
    if constraint.choices is not None:
        return choices_grammar(constraint.choices)
    if constraint.json_schema is not None:
        try:
            return schema_to_grammar(json.dumps(constraint.json_schema))
        except Exception as error:
            raise InvalidParameterError(
                f"llama.cpp cannot express this JSON schema: {error}",
                value=constraint.json_schema,
                hint="leave out what it names, and check that after generation",
            ) from error
    return constraint.grammar or ""


def choices_grammar(choices: Iterable[str]) -> str:
    """A grammar whose only texts are the choices."""
    return "root ::= " + " | ".join(_literal(choice) for choice in choices)


def _literal(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'
