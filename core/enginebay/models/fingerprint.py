"""What travels with a model's weights, read from its files in whatever format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from enginebay.interfaces.jobs import ModelFingerprint
from enginebay.models.gguf import Strings, read_gguf, split_parts
from enginebay.models.identity import files_digest, weights_identity
from enginebay.models.info import ModelInfo
from enginebay.models.safetensors import read_json
from enginebay.spec import ModelFormat

_KEPT = ("chat_template", "bos", "eos", "add_bos", "vocabulary", "context_length")


def fingerprint(source: ModelInfo, result: ModelInfo, maker: str, options: Mapping[str, Any]) -> ModelFingerprint:
    """The fingerprint of a model that was made from another.

    Args:
        maker: backend and version that made it.
        options: what it was made with, as JSON values.
    """
    tokenizer, ends = _tokenizer(result)
    return ModelFingerprint(
        source=weights_identity(source),
        maker=maker,
        options=_digest(options),
        tokenizer=tokenizer,
        chat_template=sha256(result.chat_template.encode()).hexdigest() if result.chat_template else "",
        eos_token_ids=ends,
    )


def lost_on_the_way(source: ModelInfo, result: ModelInfo) -> list[str]:
    """What must travel with the weights and differs, as "name: before -> after"; facts that a side lacks are passed."""
    pairs = [(name, getattr(source, name), getattr(result, name)) for name in _KEPT]
    return [
        f"{name}: {_short(before)} -> {_short(after)}"
        for name, before, after in pairs
        if before != after and (before or after) and not (name == "vocabulary" and not (before and after))
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "…"


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _tokenizer(model: ModelInfo) -> tuple[str, tuple[int, ...]]:
    """Digest of tokenizer.json, or of what a GGUF header says of the tokenizer; and the tokens that end a text."""
    path = model.path
    assert path is not None
    if model.format is ModelFormat.GGUF:
        metadata = read_gguf(split_parts(path)[0]).metadata
        told = {key: value for key, value in metadata.items() if key.startswith("tokenizer.ggml.")}
        plain = {key: value[:] if isinstance(value, Strings) else value for key, value in told.items()}
        return _digest(plain), _ids(told.get("tokenizer.ggml.eos_token_id"))
    if not path.is_dir():
        return "", ()
    file = path / "tokenizer.json"
    configs = {**read_json(path / "config.json"), **read_json(path / "generation_config.json")}
    return files_digest({"tokenizer.json": file}) if file.exists() else "", _ids(configs.get("eos_token_id"))


def _ids(told: Any) -> tuple[int, ...]:
    return tuple(int(token) for token in (told if isinstance(told, list) else [told]) if token is not None)
