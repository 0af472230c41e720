"""Grammars for the llguidance that xllamacpp is built with.

The server drops such a grammar in silence when it is wrong, so it is checked here first, by the same library.
"""

from __future__ import annotations

import llguidance

_HEAD = "%llguidance {}\n"
"""Tells llama.cpp that a grammar is llguidance's and not GBNF."""


def schema_grammar(schema: str) -> str:
    """The grammar of a JSON schema, given as text.

    Raises:
        ValueError: llguidance cannot express it.
    """
    return _checked(f"start: %json {schema}")


def regex_grammar(regex: str) -> str:
    """The grammar of a regular expression, in the syntax of Rust's regex crate: no look-around, no back-references.

    Raises:
        ValueError: llguidance cannot express it.
    """
    return _checked(f"start: /{llguidance.regex_to_lark(regex)}/")


def _checked(lark: str) -> str:
    problem = llguidance.LLMatcher.validate_grammar(llguidance.grammar_from("lark", lark))
    if problem:
        raise ValueError(problem.strip())
    return _HEAD + lark
