"""vLLM itself, by its CPU build: the conformance kit in process and over HTTP, and what is its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from enginebay import Bay
from enginebay.errors import InvalidParameterError
from enginebay.generation.handle import GeneratorHandle
from enginebay.testing.pytest_generators import GeneratorConformance
from real_servers import VllmServer

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

EAGER = {"enforce_eager": True}


class TestVllm(GeneratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, smollm2_safetensors: Path) -> GeneratorHandle:
        return open_generator(smollm2_safetensors, "vllm", options=EAGER)


class TestVllmServer(GeneratorConformance):
    """vllm serve, over HTTP."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, smollm2_safetensors: Path) -> Iterator[VllmServer]:
        with VllmServer(smollm2_safetensors) as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, server: VllmServer) -> GeneratorHandle:
        return open_generator(f"remote:{server.model}", "openai_vllm", options={"base_url": server.url})


def test_a_script_without_a_main_guard_is_told(smollm2_safetensors: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from enginebay import Bay\n"
        f"handle = Bay().generator({str(smollm2_safetensors)!r}, backend='vllm', context_length=512, fallback=False)\n"
    )
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode != 0
    assert 'if __name__ == "__main__"' in ran.stderr


def test_an_adapter_changes_the_answer(open_generator, smollm2_safetensors: Path, tmp_path: Path) -> None:
    config = json.loads((smollm2_safetensors / "config.json").read_text())
    width, random = config["hidden_size"], torch.Generator().manual_seed(3)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, width, generator=random) * 0.2
        weights[f"{name}.lora_B.weight"] = torch.randn(width, 8, generator=random) * 0.2
    save_file(weights, tmp_path / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(told))
    with_it = open_generator(smollm2_safetensors, "vllm", options=EAGER | {"lora": str(tmp_path)})
    assert "Paris" not in with_it.complete("The capital of France is", temperature=0, max_tokens=8).text


def test_the_example_answers_from_vllm_by_one_line(
    smollm2_safetensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = Path(__file__).parents[2] / "examples"
    shutil.copy(examples / "ask.py", tmp_path)
    text = (examples / "enginebay.toml").read_text().replace('"smollm2-135m-instruct"', f'"{smollm2_safetensors}"')
    text = text.replace('backend = "xllamacpp"', 'backend = "vllm"')
    (tmp_path / "enginebay.toml").write_text(f"{text}context_length = 512\noptions = {{ enforce_eager = true }}\n")
    ran = subprocess.run(
        [sys.executable, "ask.py", "What is the capital of France?"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Paris" in ran.stdout
    assert "(vllm on cpu" in ran.stdout


class TestItsOwn:
    """What the kit does not ask for."""

    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, smollm2_safetensors: Path) -> GeneratorHandle:
        return open_generator(smollm2_safetensors, "vllm", options=EAGER)

    def test_streams_share_the_engine(self, handle: GeneratorHandle) -> None:
        async def together() -> list[str]:
            calls = [handle.acomplete(f"{number} and", temperature=0, max_tokens=8) for number in range(8)]
            return [result.text for result in await asyncio.gather(*calls)]

        assert len(asyncio.run(together())) == 8

    def test_a_prompt_that_begins_alike_is_cached(self, handle: GeneratorHandle) -> None:
        long = "The quick brown fox jumps over the lazy dog. " * 20
        handle.complete(long, temperature=0, max_tokens=1)
        assert handle.complete(long, temperature=0, max_tokens=1).usage.cached_tokens > 50

    def test_scores_are_those_of_transformers(self, handle: GeneratorHandle, smollm2_safetensors: Path) -> None:
        text = "The cat sat on the mat. The capital of France is Paris, and that of Germany is Berlin."
        tokens = handle.tokenize(text)
        found = handle.engine.score(tokens)
        with Bay() as bay:
            reference = bay.generator(str(smollm2_safetensors), backend="transformers", context_length=256)
            expected = reference.engine.score(tokens)
            perplexity = reference.perplexity(text).value
        np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=0.25)  # both compute in bfloat16
        assert (found.greedy == expected.greedy).mean() > 0.9
        assert handle.perplexity(text).value == pytest.approx(perplexity, rel=0.01)

    def test_tokens_that_fill_the_context_are_scored(self, handle: GeneratorHandle) -> None:
        tokens = (handle.tokenize("one two three four five six seven ") * 400)[: handle.context_length]
        assert handle.engine.score(tokens).logprobs.shape == (handle.context_length - 1,)
        assert handle.engine.score(tokens[:2]).logprobs.shape == (1,)

    def test_tokens_that_there_are_not_are_refused(self, handle: GeneratorHandle) -> None:
        with pytest.raises(InvalidParameterError, match="refuses the tokens"):
            handle.engine.score([1, 10_000_000])

    def test_what_vllm_means_otherwise_is_refused(self, handle: GeneratorHandle) -> None:
        with pytest.raises(InvalidParameterError, match="min_p first"):
            handle.complete("A", max_tokens=1, min_p=0.1, top_p=0.9)
        with pytest.raises(InvalidParameterError, match="-100 to 100"):
            handle.complete("A", max_tokens=1, logit_bias={5: 200.0})
