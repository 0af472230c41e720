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
        provider_options: of the device's execution provider, such as {"gpu_mem_limit": 4000000000} for CUDA.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intra_op_num_threads: int | None = Field(default=None, ge=1)
    graph_optimization_level: GraphOptimization = "all"
    provider_options: dict[str, str | int] = {}
