"""Options of the onnxruntime backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

GraphOptimization = Literal["all", "extended", "basic", "off"]


class OnnxOptions(BaseModel):
    """Options of the embedder; they carry onnxruntime's names.

    Attributes:
        intra_op_num_threads: threads that compute; None takes the usable cores, rounded down.
        graph_optimization_level: how much of the graph is rewritten when the model is loaded.
        batch_tokens: tokens, padding included, that are computed together; None means 256 on the CPU, where padding
            costs as much as text, and no limit on a GPU. Models with int8 weights read one text at a time: their
            activations are scaled by what they are computed with, and a vector ought not to depend on that.
        provider_options: of the device's execution provider, such as {"gpu_mem_limit": 4000000000} for CUDA.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intra_op_num_threads: int | None = Field(default=None, ge=1)
    graph_optimization_level: GraphOptimization = "all"
    batch_tokens: int | None = Field(default=None, ge=1)
    provider_options: dict[str, str | int] = {}
