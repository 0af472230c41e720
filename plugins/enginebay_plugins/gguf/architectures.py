"""What llama.cpp wants to know of each family of models, and how its weights differ from the original's.

Conventions: llama.cpp, src/llama-arch.cpp and src/models; transformers, the modelling files of each family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, GGUFWriter, PoolingType, RopeScalingType

from enginebay import Pooling
from enginebay.errors import ModelFormatError
from enginebay.models.embedding_files import folder_embedding
from enginebay_plugins.gguf.weights import Floats

Config = Mapping[str, Any]
Change = Callable[[str, Floats, Config], Floats]


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        arch: llama.cpp's name.
        write: adds the facts that are not common to all.
        change: from the original's weights to llama.cpp's; given the original name.
        prefix: of tensor names, taken off before they are looked up.
        skip: beginnings of names, without the prefix, that llama.cpp does not want.
    """

    arch: MODEL_ARCH
    write: Callable[[GGUFWriter, Config, Path], None]
    change: Change = lambda name, values, config: values
    prefix: str = ""
    skip: tuple[str, ...] = ()


def head_dim(config: Config) -> int:
    """Width of one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def write_common(writer: GGUFWriter, config: Config) -> None:
    """Facts that every family has."""
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])


def rope_factors(config: Config) -> Floats | None:
    """Llama 3's factors of the rotary frequencies, shape (head width / 2,); None when there are none.

    Formula: transformers, modeling_rope_utils.py, `_compute_llama3_parameters`.
    """
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    width = head_dim(config)
    frequencies = rope["rope_theta"] ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    wavelengths = 2 * math.pi / frequencies
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    original = rope["original_max_position_embeddings"]
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), dtype=np.float32)


def _rope(config: Config) -> dict[str, Any]:
    """Rotary embedding, in transformers' spelling of version 5 or of before."""
    told: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    told = told.get("full_attention", told)
    kind = told.get("rope_type") or told.get("type") or "default"
    theta = told.get("rope_theta") or config.get("rope_theta") or 10000.0
    return {**told, "rope_type": kind, "rope_theta": float(theta)}


def _write_decoder(writer: GGUFWriter, config: Config, folder: Path) -> None:
    del folder
    context = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    if (window and config.get("model_type") == "mistral") or config.get("use_sliding_window"):
        # llama.cpp has no window for these families: up to its length there is no difference.
        context = min(context, int(window or context))
    writer.add_context_length(context)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or config["num_attention_heads"]))
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    _write_rope(writer, config)


def _write_rope(writer: GGUFWriter, config: Config) -> None:
    rope = _rope(config)
    kind = rope["rope_type"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind not in ("default", "llama3"):
        raise ModelFormatError(
            f"the model scales its rotary embedding by {kind!r}", value=kind, hint="linear, llama3 and yarn are known"
        )


def _write_llama(writer: GGUFWriter, config: Config, folder: Path) -> None:
    _write_decoder(writer, config, folder)
    writer.add_rope_dimension_count(head_dim(config))


def _write_gemma2(writer: GGUFWriter, config: Config, folder: Path) -> None:
    _write_decoder(writer, config, folder)
    _check_scale(config)
    writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    writer.add_sliding_window(config["sliding_window"])


def _write_gemma3(writer: GGUFWriter, config: Config, folder: Path) -> None:
    _write_decoder(writer, config, folder)
    _check_scale(config)
    if config.get("final_logit_softcapping") or config.get("attn_logit_softcapping"):
        raise ModelFormatError("llama.cpp's Gemma 3 caps no logits; this model does", value=config["model_type"])
    layers = config.get("layer_types") or []
    wide = [place for place, kind in enumerate(layers) if kind == "full_attention"]
    if layers and wide != list(range(5, len(layers), 6)):
        raise ModelFormatError(
            "llama.cpp's Gemma 3 looks at the whole context in every sixth layer; this model does in others",
            value=wide,
        )
    writer.add_sliding_window(config["sliding_window"])


def _check_scale(config: Config) -> None:
    """llama.cpp scales attention by the head's width, and by hidden_size / heads in Gemma 2 and 3 of 27B."""
    told = config.get("query_pre_attn_scalar")
    layers, arch = config["num_hidden_layers"], config["model_type"]
    largest = (arch == "gemma2" and layers == 46) or (arch == "gemma3_text" and layers == 62)
    own = config["hidden_size"] // config["num_attention_heads"] if largest else head_dim(config)
    if told is not None and int(told) != own:
        raise ModelFormatError(f"query_pre_attn_scalar is {told}; llama.cpp would scale attention by {own}", value=told)


def _write_bert(writer: GGUFWriter, config: Config, folder: Path) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_token_type_count(config["type_vocab_size"])
    facts = folder_embedding(folder)
    pooling = facts.pooling if facts is not None else None
    writer.add_pooling_type(_POOLING[pooling] if pooling is not None else PoolingType.NONE)
    if config.get("hidden_act", "gelu") != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise ModelFormatError("llama.cpp's BERT has gelu and absolute positions", value=config.get("hidden_act"))


_POOLING = {Pooling.MEAN: PoolingType.MEAN, Pooling.CLS: PoolingType.CLS, Pooling.LAST: PoolingType.LAST}


def _interleaved(name: str, values: Floats, config: Config) -> Floats:
    """llama.cpp rotates neighbours, transformers the two halves of a head: rows change places."""
    if not name.endswith(("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")):
        return values
    heads = int(config["num_attention_heads"])
    if ".k_proj." in name:
        heads = int(config.get("num_key_value_heads") or heads)
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _plus_one(name: str, values: Floats, config: Config) -> Floats:
    """Gemma keeps its norms' weights less one."""
    del config
    return values + np.float32(1) if name.endswith("norm.weight") else values


_LLAMA = Family(MODEL_ARCH.LLAMA, _write_llama, _interleaved)

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family(MODEL_ARCH.QWEN2, _write_decoder),
    "qwen3": Family(MODEL_ARCH.QWEN3, _write_decoder),
    "gemma": Family(MODEL_ARCH.GEMMA, _write_decoder, _plus_one),
    "gemma2": Family(MODEL_ARCH.GEMMA2, _write_gemma2, _plus_one),
    "gemma3_text": Family(MODEL_ARCH.GEMMA3, _write_gemma3, _plus_one),
    "bert": Family(MODEL_ARCH.BERT, _write_bert, prefix="bert.", skip=("pooler.", "cls.", "embeddings.position_ids")),
}
"""model_type of config.json: its family."""
