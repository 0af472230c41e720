"""Each family means the same after conversion: tiny random models, transformers' logits against llama.cpp's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
import torch
import transformers

from enginebay import ConversionRequest
from enginebay.errors import ConversionError, EnginebayError, ModelFormatError
from enginebay.models.headers import read_info
from enginebay.models.tokenizer import FILES
from enginebay_plugins.gguf.converter import convert

TOKENS = [1, 500, 7, 40_000, 12, 12, 999, 3]
SMALL = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
GEMMA = SMALL | {"head_dim": 32, "hidden_activation": "gelu_pytorch_tanh"}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama_tied": lambda: transformers.LlamaConfig(**SMALL, tie_word_embeddings=True, attention_bias=True),
    "llama3_rope": lambda: transformers.LlamaConfig(**SMALL, rope_parameters=LLAMA3),
    "llama_linear_rope": lambda: transformers.LlamaConfig(
        **SMALL, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    ),
    "mistral": lambda: transformers.MistralConfig(**SMALL, head_dim=32, sliding_window=64),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "qwen3": lambda: transformers.Qwen3Config(**SMALL, head_dim=32),
    "gemma": lambda: transformers.GemmaConfig(**GEMMA),
    "gemma2": lambda: transformers.Gemma2Config(**GEMMA, query_pre_attn_scalar=32, sliding_window=128),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **GEMMA | {"num_hidden_layers": 7}, query_pre_attn_scalar=32, sliding_window=128
    ),
}


@pytest.fixture
def save(tmp_path: Path, smollm2_safetensors: Path) -> Callable[..., tuple[Any, Path]]:
    """Makes a random model with SmolLM2's tokenizer, and its folder."""

    def make(config: Any, cut: str = "AutoModelForCausalLM") -> tuple[Any, Path]:
        torch.manual_seed(7)
        model = getattr(transformers, cut).from_config(config).float().eval()
        with torch.no_grad():
            for name, values in model.named_parameters():
                # As made, norms are all ones or zeros, and logits hardly differ.
                values.add_(torch.randn_like(values) * (0.3 if "norm" in name or "bias" in name else 0.05))
        folder = tmp_path / "original"
        model.save_pretrained(folder)
        for name in FILES:
            if (smollm2_safetensors / name).exists() and name != "generation_config.json":
                shutil.copyfile(smollm2_safetensors / name, folder / name)
        return model, folder

    return make


def gguf_of(folder: Path, kind: str = "F32") -> Path:
    target = folder.parent / f"{kind}.gguf"
    convert(ConversionRequest(folder, target, {"type": kind}))
    return target


def last_logits(path: Path, tokens: list[int]) -> np.ndarray[Any, Any]:
    engine = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    try:
        engine.eval(tokens)
        return np.array(engine.scores[: len(tokens)], copy=True)
    finally:
        engine.close()


@pytest.mark.parametrize("family", CONFIGS)
def test_logits_are_those_of_the_original(family: str, save: Callable[..., tuple[Any, Path]]) -> None:
    model, folder = save(CONFIGS[family]())
    with torch.no_grad():
        expected = model(torch.tensor([TOKENS])).logits[0].numpy()
    converted = last_logits(gguf_of(folder), TOKENS)
    assert expected.std() > 0.05, "a model without opinions would pass whatever the conversion did"
    # ggml's CPU attention holds keys and values in float16.
    np.testing.assert_allclose(converted, expected, atol=0.02 * expected.std() + 1e-3)


def test_mistrals_window_bounds_the_context(save: Callable[..., tuple[Any, Path]]) -> None:
    _, folder = save(CONFIGS["mistral"]())
    info = read_info(gguf_of(folder))
    assert info.context_length == 64
    assert info.chat_template == read_info(folder).chat_template


@pytest.mark.parametrize(("kind", "size"), [("F32", 4.0), ("F16", 2.0), ("BF16", 2.0), ("Q8_0", 34 / 32)])
def test_every_type_has_its_size_and_means_nearly_the_same(
    kind: str, size: float, save: Callable[..., tuple[Any, Path]]
) -> None:
    model, folder = save(CONFIGS["llama"]())
    path = gguf_of(folder, kind)
    info = read_info(path)
    assert info.quantization == kind
    assert info.weight_bytes == pytest.approx(size * info.parameters, rel=0.01)
    with torch.no_grad():
        expected = model(torch.tensor([TOKENS])).logits[0].numpy()
    assert np.corrcoef(last_logits(path, TOKENS).ravel(), expected.ravel())[0, 1] > 0.999


def test_auto_keeps_the_models_own_type(save: Callable[..., tuple[Any, Path]]) -> None:
    _, folder = save(CONFIGS["llama"]())
    assert read_info(gguf_of(folder, "auto")).quantization == "F32"


def test_an_unknown_type_is_refused(save: Callable[..., tuple[Any, Path]]) -> None:
    _, folder = save(CONFIGS["llama"]())
    with pytest.raises(ConversionError, match="Q4_K_M"):
        gguf_of(folder, "Q4_K_M")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "falcon"}, "falcon"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"num_hidden_layers": 1}, "no tensor like"),
        ({"hidden_size": None}, "config.json"),
        ({"vocab_size": 100}, "embedding"),
    ],
)
def test_what_llama_cpp_would_take_for_something_else_is_refused(
    change: dict[str, Any], told: str, save: Callable[..., tuple[Any, Path]]
) -> None:
    _, folder = save(CONFIGS["llama"]())
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )
    with pytest.raises(EnginebayError, match=told):
        gguf_of(folder)


def test_an_unknown_way_to_cut_text_is_refused(save: Callable[..., tuple[Any, Path]]) -> None:
    _, folder = save(CONFIGS["llama"]())
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelFormatError, match="cuts text"):
        gguf_of(folder)


def test_gemma3_with_other_layers_is_refused(save: Callable[..., tuple[Any, Path]]) -> None:
    config = CONFIGS["gemma3"]()
    config.layer_types = ["full_attention", *["sliding_attention"] * 6]
    _, folder = save(config)
    with pytest.raises(ModelFormatError, match="sixth layer"):
        gguf_of(folder)
