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
        batch_tokens: tokens, padding included, that are computed together; a longer text is computed alone. None means
            256 on the CPU, where padding costs as much as text, and no limit on a GPU; but one text at a time for
            int8 models: their activations are scaled by all that is computed together, and a vector ought not to
            depend on its company.
        provider_options: of the device's execution provider, such as {"gpu_mem_limit": 4000000000} for CUDA.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intra_op_num_threads: int | None = Field(default=None, ge=1)
    graph_optimization_level: GraphOptimization = "all"
    batch_tokens: int | None = Field(default=None, ge=1)
    provider_options: dict[str, str | int] = {}


class OnnxQuantizerOptions(BaseModel):
    """Options of the quantizer.

    Attributes:
        all_products: quantise each feed-forward layer's second product as well: about 8 bits per weight in place of 12,
            and more loss (least cosine 0.983 in place of 0.990 on all-MiniLM-L6-v2).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    all_products: bool = False
