"""What can be configured."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from enginebay.errors import ConfigError
from enginebay.matching.requirement import Converting, Workload
from enginebay.models.embedding import Pooling
from enginebay.sampling.plan import make_params
from enginebay.spec import Feature, FrozenModel

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


def _bytes(value: object) -> object:
    """ "4GB" -> 4 * 10**9, "4GiB" -> 4 * 2**30; numbers are bytes."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value.lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{value!r} is no size; write bytes, or a number with kB, MB, GB, KiB, MiB or GiB")
    return int(float(found[1]) * _UNITS[found[2]])


Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]


class GeneratorConfig(FrozenModel):
    """`[generators.NAME]`.

    Attributes:
        model: model reference.
        backend, device: a name, or "auto" for the matcher's choice.
        context_length: tokens one sequence must hold; None means the model's, at most 8192.
        streams: sequences decoded together; None means 1 for latency, 32 for throughput.
        workload: what to rank by.
        features: what the engine must be able to do.
        fallback: try the next match when opening the chosen one fails.
        conversion: whether the model may be converted for a backend that does not read its format: "never",
            "if_needed" (when nothing reads it as it is, or the backend is named), "auto" (whenever that is faster).
        memory_limit: bytes the engine may take, or a text such as "4GB".
        options: the backend's own options, checked by its options model.
        sampling: default sampling parameters.
        system: system prompt for conversations that have none.
    """

    model: str
    backend: str = "auto"
    device: str = "auto"
    context_length: int | None = Field(default=None, ge=1)
    streams: int | None = Field(default=None, ge=1)
    workload: Workload = Workload.LATENCY
    features: tuple[Feature, ...] = ()
    fallback: bool = True
    allow_software_devices: bool = False
    conversion: Converting = Converting.IF_NEEDED
    memory_limit: Bytes | None = None
    options: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    system: str | None = None

    @field_validator("sampling")
    @classmethod
    def _known_parameters(cls, value: dict[str, Any]) -> dict[str, Any]:
        from enginebay.errors import InvalidParameterError

        try:
            make_params({}, value)
        except InvalidParameterError as error:
            raise ValueError(f"{error.message}; {error.hint}" if error.hint else error.message) from error
        return value


class EmbedderConfig(FrozenModel):
    """`[embedders.NAME]`; fields that are not told of here are as of a generator.

    Attributes:
        context_length: tokens of a text that are read, special ones included; None means as many as the model's
            authors say.
        batch_size: texts embedded together; None means 32.
        workload: what to rank by: the speed of many texts, or that of one.
        pooling: how token vectors become one, for a model whose files do not say.
        query_prefix, document_prefix: put before queries, and before documents; None means what the model's own files
            say, "" nothing.
        truncate: cut a text that is longer than the model reads, with a warning, instead of refusing it.
        normalise: scale vectors to length 1; False leaves them as the model gives them.
        conversion: as of a generator, but "auto" by default: embedders are small, and converted once.
    """

    model: str
    backend: str = "auto"
    device: str = "auto"
    context_length: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    workload: Workload = Workload.THROUGHPUT
    pooling: Pooling | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    truncate: bool = False
    normalise: bool = True
    fallback: bool = True
    allow_software_devices: bool = False
    conversion: Converting = Converting.AUTO
    memory_limit: Bytes | None = None
    options: dict[str, Any] = {}


class StoreConfig(FrozenModel):
    """`[stores.NAME]`: a vector store and how to reach it. `api_key` may be "env:NAME"."""

    backend: str
    url: str | None = None
    path: Path | None = None
    api_key: SecretStr | None = None
    options: dict[str, Any] = {}


class SearchMode(StrEnum):
    """What a search compares."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    LEXICAL = "lexical"
    STORE_HYBRID = "store_hybrid"


class CollectionConfig(FrozenModel):
    """`[collections.NAME]`: an index, the store that holds it and the embedder that fills it.

    Attributes:
        store: configured name or backend; None takes the one that `Bay.store` takes.
        embedder: configured name or model; None takes the one that `Bay.embedder` takes, else all-minilm-l6-v2.
        root: folder from which the paths of files are counted, so that machines agree on them; None keeps them whole.
        include, exclude: patterns as in .gitignore, of the files to take and to leave out.
        gitignore: keep to .gitignore files.
        hidden: take hidden files and folders, too.
        max_file_bytes: larger files are left out; bytes, or a text such as "20MB".
        passage_tokens: most tokens of a passage; None means 200, or what the embedder reads if that is less.
        overlap: tokens that a passage may share with the one before.
        search: "hybrid" (vectors and words), "vector", "lexical" or "store_hybrid" (as the store mixes them itself).
        min_similarity: cosine below which nothing found counts as relevant to a question.
    """

    store: str | None = None
    embedder: str | None = None
    root: Path | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = True
    hidden: bool = False
    max_file_bytes: Bytes = 20_000_000
    passage_tokens: int | None = Field(default=None, ge=8)
    overlap: int = Field(default=0, ge=0)
    search: SearchMode = SearchMode.HYBRID
    min_similarity: float = Field(default=0.3, ge=-1, le=1)


class PluginsConfig(FrozenModel):
    """`[plugins]`: which plugins may be loaded; `allow` None means all."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


class ModelsConfig(FrozenModel):
    """`[models]`.

    Attributes:
        directory: folder of fetched models; None means enginebay's data folder.
        auto_pull: fetch a missing model when an engine is opened, instead of raising.
    """

    directory: Path | None = None
    auto_pull: bool = False


class ProbeConfig(FrozenModel):
    """`[probe]`: seconds a cached hardware profile stays good, and a native probe may take."""

    expiry: float = Field(default=3600.0, ge=0)
    timeout: float = Field(default=10.0, gt=0)


class Settings(FrozenModel):
    """The whole configuration. Every part has a default: no file at all is fine."""

    default_generator: str | None = None
    default_embedder: str | None = None
    generators: dict[str, GeneratorConfig] = {}
    embedders: dict[str, EmbedderConfig] = {}
    stores: dict[str, StoreConfig] = {}
    collections: dict[str, CollectionConfig] = {}
    plugins: PluginsConfig = PluginsConfig()
    models: ModelsConfig = ModelsConfig()
    probe: ProbeConfig = ProbeConfig()


def reveal(secret: SecretStr) -> str:
    """The secret's text; "env:NAME" is read from the environment now.

    Raises:
        ConfigError: the variable is not set.
    """
    text = secret.get_secret_value()
    if not text.startswith("env:"):
        return text
    name = text.removeprefix("env:")
    if name not in os.environ:
        raise ConfigError(f"the environment has no variable {name}", value=name, hint=f"export {name}=…")
    return os.environ[name]
