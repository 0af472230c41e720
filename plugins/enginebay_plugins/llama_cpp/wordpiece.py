"""Words that WordPiece takes for unknown: llama.cpp spells them, and would give other vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_ARCHITECTURES = frozenset({"bert", "nomic-bert"})
_UNKNOWN = "[UNK]"
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ceaf\U0002f800-\U0002fa1f"
"""Each is a word by itself."""

_LONG_WORD = re.compile(rf"[^\W_{_CJK}]{{101,}}")
"""BERT's `max_input_chars_per_word` is 100."""


def word_limit(architecture: str, tokenize: Callable[[str, bool], Sequence[int]]) -> Callable[[str], str]:
    """What to do with a text before llama.cpp reads it: for WordPiece, write long words as unknown.

    Args:
        tokenize: token ids of a text, with special tokens around it or without.
    """
    if architecture in _ARCHITECTURES and len(tokenize(_UNKNOWN, False)) == 1:
        return lambda text: _LONG_WORD.sub(_UNKNOWN, text)
    return lambda text: text
