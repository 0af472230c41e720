"""Options of the vLLM backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class VllmOptions(BaseModel):
    """Options; names and meaning are those of vLLM's own engine arguments.

    Attributes:
        dtype: type that weights are held and computed in; "auto" takes the model's own.
        quantization: quantization method of the weights; None takes what the model says.
        kv_cache_dtype: type of the KV cache.
        gpu_memory_utilization: share of a GPU's memory for the engine, 0 to 1. vLLM takes all of it for its KV cache.
        kv_cache_gib: KV cache of the CPU build, in GiB; None takes what the streams need at full context.
        tensor_parallel_size, pipeline_parallel_size: GPUs that the model is spread over.
        max_num_batched_tokens: tokens of one step; None lets vLLM choose.
        enable_prefix_caching: keep the KV cache of prompts that begin alike.
        enforce_eager: run without graphs and compilation; starts faster, decodes slower.
        lora: folder of a LoRA adapter in PEFT's format, applied to every request.
        max_lora_rank: largest rank that an adapter may have.
        structured_outputs: library that constrains outputs.
        log_level: level of vLLM's own logging.
        trust_remote_code: run Python code that the model's folder brings. Only for models you trust like a program.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gib: int | None = Field(default=None, ge=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    pipeline_parallel_size: int = Field(default=1, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    lora: Path | None = None
    max_lora_rank: int = Field(default=16, ge=1)
    structured_outputs: Literal["guidance", "xgrammar", "auto"] = "guidance"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "ERROR"
    trust_remote_code: bool = False
