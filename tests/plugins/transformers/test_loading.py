"""LoRA adapters, quantised weights, and drawing without a mask against drawing with one, on the real model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM

from enginebay import Bay, Constraint, SamplingParams
from enginebay.errors import EngineOpenError
from enginebay.models.headers import read_info
from enginebay.models.quietly import quietly
from enginebay.models.tokenizer import Tokenizer
from enginebay.sampling.masks import ConstraintMask, guidance_tokenizer
from enginebay_plugins.transformers import TRANSFORMERS
from enginebay_plugins.transformers.drawing import Drawing
from enginebay_plugins.transformers.quantized import LIBRARIES, check_quantization

pytestmark = pytest.mark.model
PROMPT = "The capital of France is"


def _quantised_by(method: str, folder: Path) -> Path:
    """A folder whose config.json tells of a method; its one tensor is a stand-in for weights."""
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    config = {"model_type": "llama", "quantization_config": {"quant_method": method}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def adapter(smollm2_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A random adapter in PEFT's format, and what PEFT's own model with it continues the prompt with, greedy."""
    folder = tmp_path_factory.mktemp("adapter")
    model: Any = AutoModelForCausalLM.from_pretrained(smollm2_safetensors, dtype=torch.float32)
    torch.manual_seed(3)
    config = LoraConfig(
        r=8, lora_alpha=24, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    with quietly():
        tuned: Any = get_peft_model(model, config)
        tuned.save_pretrained(folder)
    tokenizer = Tokenizer(smollm2_safetensors)
    prompt = torch.tensor([tokenizer.encode(PROMPT)])
    made = tuned.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=8)
    return folder, tokenizer.raw.decode(made[0, prompt.shape[1] :].tolist())


def test_an_adapter_changes_the_answer_as_peft_does(smollm2_safetensors: Path, adapter: tuple[Path, str]) -> None:
    folder, expected = adapter
    texts = []
    with Bay() as bay:
        for lora in ([], [str(folder)]):
            handle = bay.generator(
                str(smollm2_safetensors),
                backend="transformers",
                context_length=256,
                options={"lora": lora, "dtype": "float32"},
            )
            texts.append(handle.complete(PROMPT, temperature=0, max_tokens=8).text)
    assert texts[0] != texts[1] == expected


def test_an_adapter_that_is_none_is_an_error(smollm2_safetensors: Path, tmp_path: Path) -> None:
    shutil.copy(smollm2_safetensors / "config.json", tmp_path)
    with Bay() as bay, pytest.raises(EngineOpenError, match=str(tmp_path)):
        bay.generator(
            str(smollm2_safetensors), backend="transformers", context_length=256, options={"lora": [str(tmp_path)]}
        ).complete(PROMPT, max_tokens=1)


@pytest.mark.parametrize(("quantization", "megabytes"), [("nf4", 120), ("int8", 170)])
def test_bitsandbytes_makes_it_smaller(quantization: str, megabytes: float, smollm2_safetensors: Path) -> None:
    with Bay() as bay:
        handle = bay.generator(
            str(smollm2_safetensors),
            backend="transformers",
            context_length=256,
            options={"quantization": quantization},
        )
        assert "Paris" in handle.complete(PROMPT, temperature=0, max_tokens=4).text
        engine: Any = handle.engine
        assert engine._model.get_memory_footprint() < megabytes * 1e6


def test_a_quantised_model_is_not_quantised_once_more(tmp_path: Path) -> None:
    folder = _quantised_by("bitsandbytes", tmp_path)
    info = read_info(folder)
    with pytest.raises(EngineOpenError, match="quantised already, by bitsandbytes") as caught:
        check_quantization(info, "nf4")
    assert caught.value.hint == "leave the option out"
    check_quantization(info, None)


def test_a_missing_library_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """gptqmodel is installed nowhere here: it comes as source code alone."""
    with pytest.raises(EngineOpenError, match="gptqmodel is not installed") as caught:
        check_quantization(read_info(_quantised_by("gptq", tmp_path)), None)
    assert caught.value.hint == "pip install gptqmodel optimum"


def test_every_method_that_is_declared_names_its_library() -> None:
    assert set(LIBRARIES) == TRANSFORMERS.quantization_methods


def test_greedy_tokens_without_a_mask_are_those_with_one(smollm2_safetensors: Path) -> None:
    """The shortcut for a best token that is allowed gives what the whole mask gives, end tokens among them."""
    tokenizer = Tokenizer(smollm2_safetensors)
    guidance = guidance_tokenizer(tokenizer.vocabulary, tokenizer.encode)
    size, random = len(tokenizer), np.random.default_rng(5)
    shortcuts = 0
    for schema in ({"type": "integer"}, {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}):
        params = SamplingParams(temperature=0, constraint=Constraint(json_schema=schema))
        assert params.constraint is not None
        mask, twin = (ConstraintMask(params.constraint, guidance) for _ in range(2))
        drawing = Drawing(params, [1], size, tokenizer.end, mask, torch.device("cpu"))
        for _ in range(12):
            logits = random.normal(size=size).astype(np.float32)
            allowed = twin.allowed(size)
            if random.random() < 0.7:
                logits[allowed] += 20
            expected = int(np.where(allowed, logits, -np.inf).argmax())
            shortcuts += bool(allowed[logits.argmax()])
            assert drawing.draw(torch.from_numpy(logits)) == expected
            ended = expected in tokenizer.end
            drawing.accept(expected, ended=ended)
            if ended:
                break
            twin.accept(expected)
            if twin.complete:
                break
    assert shortcuts


def test_tokens_are_drawn_as_likely_as_they_are_among_the_allowed(smollm2_safetensors: Path) -> None:
    """The distribution under a constraint is that of the allowed tokens, the end token among them."""
    tokenizer = Tokenizer(smollm2_safetensors)
    guidance = guidance_tokenizer(tokenizer.vocabulary, tokenizer.encode)
    size, random, draws = len(tokenizer), np.random.default_rng(9), 4000
    constraint = Constraint(regex="([a-e][xy]?)?")
    params = SamplingParams(temperature=0.8, seed=4, constraint=constraint)
    allowed = np.flatnonzero(ConstraintMask(constraint, guidance).allowed(size))
    assert tokenizer.end & set(allowed.tolist())
    logits = np.full(size, -20.0, dtype=np.float32)
    logits[allowed] = random.normal(size=len(allowed))
    others = np.setdiff1d(np.arange(size), allowed)
    logits[random.choice(others, size=len(allowed), replace=False)] = 0.0  # as likely, and forbidden
    drawing = Drawing(params, [1], size, tokenizer.end, ConstraintMask(constraint, guidance), torch.device("cpu"))
    drawn = [drawing.draw(torch.from_numpy(logits)) for _ in range(draws)]
    weights = np.exp(logits[allowed].astype(np.float64) / 0.8)
    expected = weights / weights.sum() * draws
    observed = np.array([drawn.count(token) for token in allowed.tolist()])
    assert observed.sum() == draws
    assert expected.min() >= 5
    assert chisquare(observed, expected).pvalue > 1e-3
    assert chisquare(np.roll(observed, 1), expected).pvalue < 1e-3
