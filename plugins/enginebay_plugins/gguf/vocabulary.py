"""Tokenizers as GGUF files carry them, made of tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
from gguf import GGUFWriter, SpecialVocab, TokenType

from enginebay.errors import ModelFormatError
from enginebay.models.pretokenizers import pretokenizer_name
from enginebay.models.safetensors import read_json

_SPACE = "▁"
_UNMERGED = -1e6
"""Score of a piece that no merge makes: llama.cpp never merges into it."""


def write_vocabulary(writer: GGUFWriter, folder: Path, size: int) -> None:
    """Add tokens, merges or scores, special tokens and the chat template.

    Args:
        size: rows of the embedding; ids without a token are filled with unused ones.

    Raises:
        ModelFormatError: the tokenizer is of no kind that llama.cpp cuts and merges alike.
    """
    tokenizer = read_json(folder / "tokenizer.json")
    model = tokenizer.get("model", {})
    kind = model.get("type")
    if not tokenizer:
        raise ModelFormatError(f"{folder} has no tokenizer.json", value=str(folder))
    if kind == "WordPiece":
        merges = _word_piece(writer, tokenizer, size)
    elif kind == "BPE" and model.get("byte_fallback"):
        merges = _sentence_piece(writer, tokenizer, size)
    elif kind == "BPE":
        merges = _byte_level(writer, folder, tokenizer, size)
    else:
        raise ModelFormatError(
            f"{folder} has a tokenizer of the kind {kind!r}", value=kind, hint="BPE and WordPiece can be converted"
        )
    SpecialVocab(folder, load_merges=merges, n_vocab=size).add_to_gguf(writer, quiet=True)


def _byte_level(writer: GGUFWriter, folder: Path, tokenizer: Mapping[str, Any], size: int) -> bool:
    name = pretokenizer_name(tokenizer.get("pre_tokenizer"))
    if name is None:
        raise ModelFormatError(
            f"the tokenizer of {folder} cuts text in a way that has no name in llama.cpp's list known here",
            value=str(tokenizer.get("pre_tokenizer"))[:200],
            hint="take a GGUF file of the model that its makers give",
        )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    tokens = _tokens(tokenizer, size)
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    return True


def _sentence_piece(writer: GGUFWriter, tokenizer: Mapping[str, Any], size: int) -> bool:
    """llama.cpp merges the pair whose piece scores best; here the score is the rank of the merge that makes it."""
    tokens = _tokens(tokenizer, size)
    scores = dict.fromkeys((text for text, _ in tokens), _UNMERGED)
    for rank, merge in enumerate(tokenizer["model"]["merges"]):
        piece = "".join(merge.split(" ", 1) if isinstance(merge, str) else merge)
        if scores.get(piece) == _UNMERGED:
            scores[piece] = -float(rank)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([scores[text] for text, _ in tokens])
    writer.add_token_types([TokenType.BYTE if _is_byte(text) else kind for text, kind in tokens])
    writer.add_add_space_prefix(_puts_space_first(tokenizer))
    return False


def _word_piece(writer: GGUFWriter, tokenizer: Mapping[str, Any], size: int) -> bool:
    """llama.cpp marks the beginnings of words, WordPiece their continuations."""
    added = {token["content"] for token in tokenizer.get("added_tokens", [])}
    prefix = tokenizer["model"].get("continuing_subword_prefix", "##")
    tokens = _tokens(tokenizer, size)

    def marked(text: str) -> str:
        if text in added:
            return text
        return text[len(prefix) :] if text.startswith(prefix) else _SPACE + text

    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([marked(text) for text, _ in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    return False


def _tokens(tokenizer: Mapping[str, Any], size: int) -> list[tuple[str, gguf.TokenType]]:
    """Text and type of every id."""
    found = {int(token): (text, TokenType.NORMAL) for text, token in tokenizer["model"]["vocab"].items()}
    for token in tokenizer.get("added_tokens", []):
        kind = TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED
        found[int(token["id"])] = (token["content"], kind)
    unknown = tokenizer["model"].get("unk_token")
    if max(found, default=0) >= size:
        raise ModelFormatError(
            f"the tokenizer has a token {max(found)}, the embedding only {size} rows", value=max(found)
        )
    return [
        (text, TokenType.UNKNOWN if text == unknown else kind)
        for text, kind in (found.get(token, (f"[PAD{token}]", TokenType.UNUSED)) for token in range(size))
    ]


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _puts_space_first(tokenizer: Mapping[str, Any]) -> bool:
    """Whether the tokenizer puts a space before the text, as Llama 2's does and Gemma's does not."""
    cut = tokenizer.get("pre_tokenizer") or {}
    if cut.get("type") == "Metaspace":
        return bool(cut.get("prepend_scheme", "always") != "never")
    rules = (tokenizer.get("normalizer") or {}).get("normalizers", [tokenizer.get("normalizer") or {}])
    return any(rule.get("type") == "Prepend" for rule in rules)
