"""Writes small folders as embedding models have them. The weights are sixteen bytes: no engine runs them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 8,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
HEADER = {"a": {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 16]}}


def write_embedding_folder(
    folder: Path,
    *,
    steps: Sequence[str] = ("Transformer", "Pooling"),
    pooling: Mapping[str, Any] = MEAN,
    text: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    prompts: Mapping[str, Any] | None = None,
    fill: int = 0,
) -> Path:
    """Write a folder.

    Args:
        steps: kinds of `modules.json`; none leaves the file out.
        pooling, text, tokenizer, prompts: contents of the files that say how it embeds; None leaves a file out.
        fill: the byte that the weights are made of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw = json.dumps(HEADER).encode()
    (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes([fill]) * 16)
    write(folder / "config.json", CONFIG)
    if steps:
        modules = [
            {"idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "", "type": f"library.{kind}"}
            for place, kind in enumerate(steps)
        ]
        write(folder / "modules.json", modules)
        for place, kind in enumerate(steps):
            if kind == "Pooling":
                write(folder / f"{place}_{kind}" / "config.json", pooling)
    for name, content in (
        ("sentence_bert_config.json", text),
        ("tokenizer_config.json", tokenizer),
        ("config_sentence_transformers.json", None if prompts is None else {"prompts": prompts}),
    ):
        if content is not None:
            write(folder / name, content)
    return folder


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
