"""How byte-level BPE tokenizers cut text before merging: llama.cpp has names for it, tokenizer.json describes it.

Names and patterns: llama.cpp, src/llama-vocab.cpp. A wrong one gives other token ids without any error, so that what is
not in this table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Description = Mapping[str, Any]

_BYTES: Description = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_GPT2: Description = {**_BYTES, "use_regex": True}
_DIGITS: Description = {"type": "Digits", "individual_digits": True}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_WORD = r"[^\r\n\p{L}\p{N}]?"


def _sequence(*parts: Description) -> Description:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _split(pattern: str) -> Description:
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return _sequence(cut, _BYTES)


PRETOKENIZERS: Mapping[str, Description] = {
    "gpt-2": _GPT2,
    "llama-bpe": _split(rf"{_CONTRACTIONS}|{_WORD}\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"),
    "qwen2": _split(rf"{_CONTRACTIONS}|{_WORD}\p{{L}}+|\p{{N}}|{_TAIL}"),
    "smollm": _sequence(_DIGITS, _GPT2),
    "tekken": _split(
        rf"{_WORD}[{_UPPER}]*[{_LOWER}]+|{_WORD}[{_UPPER}]+[{_LOWER}]*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}
"""llama.cpp's name: the `pre_tokenizer` of tokenizer.json that cuts alike."""

_ALIASES = {
    "default": "gpt-2",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "smaug-bpe": "llama-bpe",
    "dbrx": "llama-bpe",
    "stablelm2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
    "starcoder": "smollm",
    "refact": "smollm",
    "command-r": "smollm",
    "phi-2": "gpt-2",
    "roberta-bpe": "gpt-2",
}


def pretokenizer(name: str) -> Description | None:
    """The description of what llama.cpp calls by this name; None when it is not known here."""
    return PRETOKENIZERS.get(_ALIASES.get(name, name))


def pretokenizer_name(description: Description | None) -> str | None:
    """llama.cpp's name of what a tokenizer.json describes; None when it has none that is known here."""
    wanted = _essence(description or {})
    return next((name for name, known in PRETOKENIZERS.items() if _essence(known) == wanted), None)


def _essence(description: Description) -> object:
    """What makes two descriptions cut alike: spelling of defaults and lone sequences do not."""
    parts = description.get("pretokenizers", [description])
    cuts: list[object] = []
    for part in parts:
        kind = part.get("type")
        if kind == "ByteLevel":
            cuts.append(("ByteLevel", part.get("use_regex", True), part.get("add_prefix_space", False)))
        elif kind == "Split":
            pattern = part.get("pattern", {})
            cuts.append(("Split", pattern.get("Regex"), part.get("behavior"), part.get("invert", False)))
        elif kind == "Digits":
            cuts.append(("Digits", part.get("individual_digits", False)))
        else:
            cuts.append(kind)
    return cuts
