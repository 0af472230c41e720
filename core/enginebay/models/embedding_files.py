"""Reading how a model embeds from its files.

Models for sentence-transformers say it in `modules.json` (the steps), the pooling step's `config.json`,
`sentence_*_config.json` (the longest text) and `config_sentence_transformers.json` (the prompts); GGUF files in
`pooling_type`. Sources: sentence_transformers 6, `sentence_transformer/modules/pooling.py` and
`base/modules/transformer.py`; llama.cpp, `enum llama_pooling_type`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginebay.errors import ModelFormatError
from enginebay.models.embedding import EmbeddingFacts, Pooling
from enginebay.models.safetensors import read_json

_GGUF_POOLING: Mapping[int, Pooling] = {1: Pooling.MEAN, 2: Pooling.CLS, 3: Pooling.LAST}

_MODES: Mapping[str, Pooling] = {
    "mean": Pooling.MEAN,
    "cls": Pooling.CLS,
    "lasttoken": Pooling.LAST,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_lasttoken": Pooling.LAST,
}
"""By the names of today, and by those of older files, which have a switch for each."""

_PLAIN = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])

_OFFSET = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "data2vec-text"})
"""Architectures whose positions begin after that of the padding token: the first ones stand for no place."""

_NO_LIMIT = 10**9
"""Tokenizers without a limit write a number with thirty digits."""


def gguf_embedding(metadata: Mapping[str, Any], architecture: str) -> EmbeddingFacts | None:
    """What a GGUF file's metadata say; None when they name no pooling."""
    pooling = _GGUF_POOLING.get(metadata.get(f"{architecture}.pooling_type", 0))
    if pooling is None:
        return None
    return EmbeddingFacts(pooling=pooling, max_length=int(metadata.get(f"{architecture}.context_length", 0)))


def folder_embedding(folder: Path) -> EmbeddingFacts | None:
    """What the files of a model for sentence-transformers say; None when it is none.

    Raises:
        ModelFormatError: a file is no JSON, or says something senseless.
    """
    try:
        steps = _steps(folder / "modules.json")
        return _facts(folder, steps) if steps else None
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ModelFormatError(
            f"{folder} does not tell how it embeds: {str(error).splitlines()[0]}",
            value=str(folder),
            hint="look at its modules.json and the configurations of its steps",
        ) from error


def _facts(folder: Path, steps: list[tuple[str, Path]]) -> EmbeddingFacts:
    kinds = [kind for kind, _ in steps]
    first = steps[0][1]
    pooling = next((read_json(place / "config.json") for kind, place in steps if kind == "Pooling"), {})
    mode = _mode(pooling)
    text = next((read_json(file) for file in sorted(first.glob("sentence_*_config.json"))), {})
    prompts = read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    whole_text = pooling.get("include_prompt", True) and not text.get("do_lower_case")
    return EmbeddingFacts(
        pooling=mode,
        max_length=int(text.get("max_seq_length") or _longest(first)),
        normalise="Normalize" in kinds,
        query_prefix=_prompt(prompts, "query"),
        document_prefix=_prompt(prompts, "document", "passage", "corpus"),
        plain=bool(mode is not None and whole_text and kinds in _PLAIN),
    )


def _steps(file: Path) -> list[tuple[str, Path]]:
    """The kind of each step and where its files lie."""
    if not file.exists():
        return []
    steps = sorted(json.loads(file.read_bytes()), key=lambda step: int(step["idx"]))
    return [(str(step["type"]).rpartition(".")[2], file.parent / str(step["path"])) for step in steps]


def _mode(pooling: Mapping[str, Any]) -> Pooling | None:
    """The one pooling mode that is on; None for several, or another than `Pooling` has."""
    told = pooling.get("pooling_mode")
    if told is None:
        told = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
    names = [told] if isinstance(told, str) else list(told)
    return _MODES.get(names[0]) if len(names) == 1 else None


def _longest(folder: Path) -> int:
    """The smaller of what positions and tokenizer have room for; 0 when neither says."""
    config = read_json(folder / "config.json")
    positions = config.get("max_position_embeddings") or 0
    if config.get("model_type") in _OFFSET:
        positions -= int(config.get("pad_token_id", 1)) + 1
    tokens = read_json(folder / "tokenizer_config.json").get("model_max_length") or 0
    told = [int(limit) for limit in (positions, tokens) if 0 < limit < _NO_LIMIT]
    return min(told, default=0)


def _prompt(prompts: Mapping[str, str], *names: str) -> str:
    return next((prompts[name] for name in names if prompts.get(name)), "")
