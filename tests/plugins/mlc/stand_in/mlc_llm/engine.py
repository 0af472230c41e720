"""Part of the stand-in: an AsyncMLCEngine that speaks as MLC's does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer as Raw
from tokenizers.decoders import DecodeStream
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from enginebay import Constraint, SamplingParams
from enginebay.models.tokenizer import Tokenizer
from enginebay.sampling.masks import ConstraintMask, guidance_tokenizer
from enginebay.sampling.reference import ReferenceSampler
from mlc_llm.serve.config import EngineConfig


class BadRequestError(ValueError):
    """As MLC's."""


class AsyncMLCEngine:
    """Decodes one token of each request after the other, in the loop of its caller."""

    def __init__(
        self,
        model: str,
        device: str = "auto",
        *,
        model_lib: str | None = None,
        mode: str = "local",
        engine_config: EngineConfig | None = None,
        enable_tracing: bool = False,
    ) -> None:
        folder = Path(model)
        config = json.loads((folder / "mlc-chat-config.json").read_text())
        if model_lib is not None and not Path(model_lib).exists():
            raise ValueError(f"Cannot find library {model_lib}")
        self.device, self.mode, self.engine_config = device, mode, engine_config or EngineConfig()
        self.model_lib, self.aborted, self.terminated = model_lib, list[str](), False
        self._most = self.engine_config.max_single_sequence_length or config["context_window_size"]
        if self._most > config["context_window_size"]:
            raise ValueError("max_single_sequence_length exceeds the model's context window")
        self._slots = asyncio.Semaphore(self.engine_config.max_num_sequence or 4)
        self._tokenizer = Tokenizer(folder)
        self._guidance = guidance_tokenizer(self._tokenizer.vocabulary, self._tokenizer.encode)
        self._ends = set(config["conv_template"]["stop_token_ids"])
        self._defaults = {name: config[name] for name in ("temperature", "top_p")}
        settings = AutoConfig.for_model(config["model_type"], **config["model_config"])
        self._model = AutoModelForCausalLM.from_config(settings).float().eval()
        weights = load_file(folder / "params_shard_0.bin")
        self._model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
        self._model.tie_weights()
        self._read: dict[tuple[int, ...], Any] = {}
        self._lock = threading.Lock()
        self.completions = SimpleNamespace(create=self._create)

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def terminate(self) -> None:
        self.terminated = True

    async def _create(
        self,
        *,
        prompt: str | list[int],
        model: str | None = None,
        best_of: int = 1,
        echo: bool = False,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        logprobs: int | None = None,
        logit_bias: dict[int, float] | None = None,
        max_tokens: int | None = None,
        n: int = 1,
        seed: int | None = None,
        stop: str | list[str] | None = None,
        stream: bool = False,
        stream_options: dict[str, Any] | None = None,
        suffix: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        user: str | None = None,
        response_format: dict[str, Any] | None = None,
        request_id: str | None = None,
        extra_body: dict[str, Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        if not stream or not isinstance(prompt, list) or n != 1 or echo or stop or logprobs is not None:
            raise NotImplementedError("the stand-in has no more than enginebay calls")
        if abs(frequency_penalty or 0) > 2 or abs(presence_penalty or 0) > 2:
            raise ValueError("Penalty value should be in range [-2, 2].")
        if any(abs(bias) > 100 for bias in (logit_bias or {}).values()):
            raise ValueError("Logit bias value should be in range [-100, 100]")
        if any(token >= len(self._tokenizer) for token in logit_bias or {}):
            raise ValueError("logit_bias names a token that is not in the vocabulary")
        if len(prompt) >= self._most:
            raise BadRequestError("Request prompt is longer than the maximum")
        params = SamplingParams(
            temperature=self._defaults["temperature"] if temperature is None else temperature,
            top_p=self._defaults["top_p"] if top_p is None else top_p,
            frequency_penalty=frequency_penalty or 0,
            presence_penalty=presence_penalty or 0,
            logit_bias=logit_bias or {},
            seed=seed,
        )
        constraint = None
        if response_format is not None and response_format["type"] == "json_object":
            constraint = Constraint(json_schema=json.loads(response_format["schema"]))
        most = self._most if max_tokens in (None, -1) else int(max_tokens or 0)
        usage = bool((stream_options or {}).get("include_usage"))
        return self._stream(prompt, params, constraint, most, usage)

    async def _stream(
        self, prompt: list[int], params: SamplingParams, constraint: Constraint | None, most: int, usage: bool
    ) -> AsyncGenerator[Any, None]:
        sampler = ReferenceSampler(params)
        mask = ConstraintMask(constraint, self._guidance) if constraint else None
        raw: Raw = self._tokenizer.raw
        decoder, count, reason = DecodeStream(skip_special_tokens=True), 0, None
        async with self._slots:
            logits, cache = self._prefill(prompt)
            while reason is None:
                if self.terminated:
                    raise RuntimeError("the engine was terminated")
                token = sampler.draw(logits, mask.allowed(len(logits)) if mask else None)
                count += 1
                if mask:
                    mask.accept(token)
                text = "" if token in self._ends else decoder.step(raw, token) or ""
                if token in self._ends or (mask and mask.complete):
                    reason = "stop"
                elif count >= most or len(prompt) + count >= self._most:
                    reason = "length"
                if text or reason:  # as MLC, which says nothing while a character is incomplete
                    yield _answer(SimpleNamespace(index=0, text=text, finish_reason=reason, logprobs=None))
                await asyncio.sleep(0)
                if reason is None:
                    logits = self._decode(token, cache)
        if usage:
            told = {"prompt_tokens": len(prompt), "completion_tokens": count, "total_tokens": len(prompt) + count}
            yield SimpleNamespace(choices=[], usage=SimpleNamespace(**told, extra=None))

    @torch.inference_mode()
    def _prefill(self, prompt: list[int]) -> tuple[np.ndarray[Any, Any], Any]:
        """Logits after a prompt; the last prompt is remembered, as a prefix cache would."""
        key = tuple(prompt)
        if key not in self._read:
            cache = DynamicCache()
            logits = self._model(torch.tensor([prompt]), past_key_values=cache, use_cache=True).logits[0, -1]
            self._read = {key: (logits.numpy(), [(layer.keys, layer.values) for layer in cache.layers])}
        logits, layers = self._read[key]
        cache = DynamicCache()
        for place, (keys, values) in enumerate(layers):
            cache.update(keys, values, place)
        return logits, cache

    @torch.inference_mode()
    def _decode(self, token: int, cache: Any) -> np.ndarray[Any, Any]:
        answer = self._model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        return np.asarray(answer.logits[0, -1].numpy())


def _answer(choice: Any) -> Any:
    return SimpleNamespace(choices=[choice], usage=None)
