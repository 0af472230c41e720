"""How Weaviate cuts text into tokens."""

from __future__ import annotations

import re

_ENGLISH = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS = frozenset(_ENGLISH.split())
# Go's unicode.IsSpace
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
TOKENIZATIONS = ("word", "lowercase", "whitespace", "field")


def tokens(tokenization: str, text: str) -> list[str]:
    """The tokens of a text, in order."""
    match tokenization:
        case "field":
            return [text.strip(_SPACE)]
        case "whitespace":
            return text.split()
        case "lowercase":
            return text.lower().split()
    return [word for word in re.split(r"[\W_]+", text.lower()) if word]
