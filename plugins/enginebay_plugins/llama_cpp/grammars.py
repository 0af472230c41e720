"""Grammars for constraints, in GBNF, llama.cpp's format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from enginebay import Constraint
from enginebay.errors import InvalidParameterError
from enginebay.sampling.masks import compact_schema


def constraint_grammar(
    constraint: Constraint,
    *,
    from_schema: Callable[[str], str] | None = None,
    from_regex: Callable[[str], str] | None = None,
) -> str:
    """The grammar of a constraint.

    Args:
        from_schema, from_regex: the library's own conversions, where the backend declares these kinds; they raise
            ValueError for what they cannot express.

    Raises:
        InvalidParameterError: the schema or the expression cannot be expressed.
    """
    if constraint.choices is not None:
        return choices_grammar(constraint.choices)
    if constraint.json_schema is not None and from_schema is not None:
        return _converted(json.dumps(compact_schema(constraint.json_schema)), "JSON schema", from_schema)
    if constraint.regex is not None and from_regex is not None:
        return _converted(constraint.regex, "regular expression", from_regex)
    if constraint.grammar is None:
        raise InvalidParameterError(
            f"this backend has no {constraint.kind} of its own", value=constraint.kind, hint="ask the core for it"
        )
    grammar = constraint.grammar
    if grammar.lstrip().startswith("%"):
        raise InvalidParameterError("the grammar is no GBNF", value=grammar, hint="write it in llama.cpp's GBNF format")
    return grammar


def choices_grammar(choices: Iterable[str]) -> str:
    """A grammar whose only texts are the choices."""
    return "root ::= " + " | ".join(_literal(choice) for choice in choices)


def _converted(source: str, what: str, convert: Callable[[str], str]) -> str:
    try:
        return convert(source)
    except (ValueError, AssertionError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidParameterError(
            f"llama.cpp cannot express this {what}: {reason}",
            value=source,
            hint="leave out what it names, and check that after generation",
        ) from error


def _literal(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'
