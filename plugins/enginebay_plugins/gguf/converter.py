"""safetensors to GGUF: metadata and tokenizer first, then one tensor after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from enginebay import ConversionRequest
from enginebay.errors import ConversionError, ModelFormatError
from enginebay.models.safetensors import read_json
from enginebay_plugins.gguf.architectures import FAMILIES, Config, Family, rope_factors, write_common
from enginebay_plugins.gguf.vocabulary import write_vocabulary
from enginebay_plugins.gguf.weights import Weights

TYPES = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "BF16": LlamaFileType.MOSTLY_BF16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
}
_WHOLE = ("token_types.weight", "position_embd.weight")
"""llama.cpp adds these to activations, and wants them in float32 as it does everything of one dimension."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tensor to be written: its name in either format, its shape and its type."""

    source: str
    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType


def convert(request: ConversionRequest) -> None:
    """Write one GGUF file with weights of `type`, tokenizer, special tokens and chat template.

    `type` is one of F32, F16, BF16, Q8_0, or "auto": the model's own type. Vectors stay in float32.

    Raises:
        ConversionError: `type` is none of these.
        ModelFormatError: the architecture, a tensor or the tokenizer has no equal in llama.cpp.
    """
    weights = Weights(request.source)
    wanted = _type(str(request.options["type"]), weights)
    config = read_json(request.source / "config.json")
    family = _family(config, request.source)
    writer = GGUFWriter(None, gguf.MODEL_ARCH_NAMES[family.arch])
    try:
        writer.add_name(str(config.get("_name_or_path") or request.source.name))
        writer.add_file_type(TYPES[wanted])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        write_common(writer, config)
        family.write(writer, config, request.source)
        write_vocabulary(writer, request.source, int(config["vocab_size"]))
    except KeyError as error:
        raise ModelFormatError(
            f"config.json of {request.source} tells no {error}", value=str(request.source)
        ) from error
    factors = rope_factors(config)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    _write(writer, request, family, config, weights, wanted)


def _write(
    writer: GGUFWriter, request: ConversionRequest, family: Family, config: Config, weights: Weights, wanted: str
) -> None:
    planned = list(_plan(weights, family, config, wanted))
    for tensor in planned:
        size = prod(gguf.quant_shape_to_byte_shape(tensor.shape, tensor.type))
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, tensor.type)
    extra = [info.tensor for info in writer.tensors[0].values() if info.tensor is not None]
    writer.write_header_to_file(request.target)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for one in extra:
        writer.write_tensor_data(one)
    for place, tensor in enumerate(planned):
        request.report(tensor.name, place / len(planned))
        values = family.change(tensor.source, weights[tensor.source], config)
        writer.write_tensor_data(_stored(values, tensor.type))
    writer.close()
    request.report("done", 1.0)


def _plan(weights: Weights, family: Family, config: Config, wanted: str) -> Iterator[_Planned]:
    names = gguf.get_tensor_name_map(family.arch, int(config["num_hidden_layers"]))
    for source in sorted(weights):
        bare = source.removeprefix(family.prefix)
        if bare.startswith(family.skip) or bare.endswith(("rotary_emb.inv_freq", "masked_bias", "attn.bias")):
            continue
        if bare == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # the embedding's twin
        name = names.get_name(bare, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ModelFormatError(f"llama.cpp has no tensor like {source!r} of {family.arch.name}", value=source)
        shape = weights.shape(source)
        yield _Planned(source, name, shape, _tensor_type(name, shape, wanted))


def _tensor_type(name: str, shape: tuple[int, ...], wanted: str) -> GGMLQuantizationType:
    if len(shape) < 2 or name in _WHOLE:
        return GGMLQuantizationType.F32
    if wanted == "Q8_0" and shape[-1] % gguf.GGML_QUANT_SIZES[GGMLQuantizationType.Q8_0][0]:
        return GGMLQuantizationType.F16
    return GGMLQuantizationType[wanted]


def _stored(values: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    if kind is GGMLQuantizationType.F16:
        return values.astype(np.float16)
    if kind is GGMLQuantizationType.F32:
        return np.ascontiguousarray(values)
    stored: NDArray[Any] = gguf.quantize(np.ascontiguousarray(values), kind)
    return stored


def _type(wanted: str, weights: Weights) -> str:
    if wanted == "auto":
        kinds = [weights.dtype(name) for name in weights if len(weights.shape(name)) > 1]
        wanted = max(set(kinds), key=kinds.count, default="F16")
    if wanted not in TYPES:
        raise ConversionError(f"no type {wanted!r} can be written", value=wanted, hint=f"auto, {', '.join(TYPES)}")
    return wanted


def _family(config: Config, folder: Path) -> Family:
    kind = str(config.get("model_type", ""))
    if kind not in FAMILIES:
        raise ModelFormatError(
            f"{folder} is of the architecture {kind!r}", value=kind, hint=f"can be converted: {', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]
