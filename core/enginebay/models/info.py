"""What the headers of a model tell without loading its weights."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from pydantic import Field

from enginebay.models.embedding import EmbeddingFacts
from enginebay.spec import FrozenModel, ModelFormat

_WHOLE = frozenset({"F64", "F32", "F16", "BF16", "FLOAT32", "FLOAT16", "BFLOAT16", "FP32", "FP16", "Q0F32", "Q0F16"})
"""Types that hold weights as they were trained, in the names of all formats."""


class ModelInfo(FrozenModel):
    """The facts of a model that matching and prompting need.

    Attributes:
        reference: what the user wrote.
        path: file or folder on this machine; None for a model that is not fetched.
        format: format of the weights.
        architecture: "llama", "qwen2", "bert", …
        name: the model's own name, from its header.
        parameters: number of weights.
        weight_bytes: size of the weights as stored.
        quantization: "Q4_1", "F16", "BF16", "int8", …
        quantization_method: of quantised safetensors, as `quant_method` in config.json names it ("bitsandbytes");
            "" for others.
        layers: transformer blocks.
        heads: attention heads.
        kv_heads: key-value heads (grouped-query attention).
        head_dim: width of one head.
        embedding_length: width of the hidden state.
        vocabulary: tokens in the vocabulary.
        context_length: tokens the model was trained for.
        chat_template: Jinja source, or None.
        bos, eos: text of the begin and end tokens, "" when there is none.
        add_bos: the tokenizer puts `bos` before a text by itself.
        license: as the header or the catalogue says, "" when unknown.
        active_share: share of the weights that one decoded token reads: 1 for dense models,
            active / total parameters for mixtures of experts.
        embedding: how it makes one vector of a text; None for a model whose files do not say that it does.
    """

    reference: str
    path: Path | None = None
    format: ModelFormat
    architecture: str
    name: str = ""
    parameters: int = Field(ge=0)
    weight_bytes: int = Field(ge=0)
    quantization: str = ""
    quantization_method: str = ""
    layers: int = Field(ge=0)
    heads: int = Field(default=0, ge=0)
    kv_heads: int = Field(default=0, ge=0)
    head_dim: int = Field(default=0, ge=0)
    embedding_length: int = Field(default=0, ge=0)
    vocabulary: int = Field(default=0, ge=0)
    context_length: int = Field(default=0, ge=0)
    chat_template: str | None = None
    bos: str = ""
    eos: str = ""
    add_bos: bool = False
    license: str = ""
    active_share: float = Field(default=1.0, gt=0, le=1)
    embedding: EmbeddingFacts | None = None

    @property
    def quantized(self) -> bool:
        """Its weights are stored in fewer than 16 bits."""
        return bool(self.quantization) and self.quantization.upper() not in _WHOLE

    @property
    def bits_per_weight(self) -> float:
        """Bits of stored weights over the number of weights; 0 when that is not known."""
        return 8 * self.weight_bytes / self.parameters if self.parameters else 0.0

    @property
    def digest(self) -> str:
        """Short digest of the facts that decide speed: two files with equal shape and weights share it."""
        facts = (self.format, self.architecture, self.quantization, self.parameters, self.weight_bytes, self.layers)
        return sha256(repr(facts).encode()).hexdigest()[:16]

    def kv_bytes_per_token(self, bytes_per_element: float = 2.0) -> int:
        """Bytes of KV cache for one token: keys and values of every layer and key-value head."""
        return int(2 * self.layers * self.kv_heads * self.head_dim * bytes_per_element)
