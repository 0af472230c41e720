"""What a backend declares of itself: data only, cheap to import, judged by the matcher."""

from __future__ import annotations

import re
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Self

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, model_validator

API_VERSION = 1
"""Version of the contract between core and plugins; a plugin module names it as `api_version`."""

# When the first model is made, pydantic reads the entry points of all distributions, unguarded: broken metadata of any
# raises there, and only there.
with suppress(Exception):
    create_model("FirstModel")

_IMPORT_STRING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Interface(StrEnum):
    """The five interfaces."""

    GENERATOR = "generator"
    EMBEDDER = "embedder"
    VECTOR_STORE = "vector_store"
    TUNER = "tuner"
    QUANTIZER = "quantizer"


class DeviceKind(StrEnum):
    """Kinds of device that can compute."""

    CPU = "cpu"
    CUDA = "cuda"
    ROCM = "rocm"
    METAL = "metal"
    VULKAN = "vulkan"
    WEBGPU = "webgpu"
    REMOTE = "remote"


class ModelFormat(StrEnum):
    """Formats of model files."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    CTRANSLATE2 = "ctranslate2"
    MLC = "mlc"
    ONNX = "onnx"
    REMOTE = "remote"


class Feature(StrEnum):
    """What an engine can do beyond plain generation or embedding."""

    STREAMING = "streaming"
    CHAT_TEMPLATE = "chat_template"
    MESSAGES = "messages"
    """It takes conversations and applies the model's chat template itself, as servers do."""
    LOGPROBS = "logprobs"
    CHOICES = "choices"
    REGEX = "regex"
    JSON_SCHEMA = "json_schema"
    GRAMMAR = "grammar"
    LORA = "lora"
    PARTIAL_OFFLOAD = "partial_offload"
    CONTINUOUS_BATCHING = "continuous_batching"
    PREFIX_CACHE = "prefix_cache"
    LOGITS = "logits"
    SCORING = "scoring"
    """It gives the log-probabilities of tokens that are given, for perplexity and for choosing among answers."""
    MULTI_DEVICE = "multi_device"
    EMBEDDING_MODULES = "embedding_modules"
    """It runs what embedding models put after the transformer beside plain pooling and normalisation."""


class Concurrency(StrEnum):
    """How an engine may be called."""

    SERIAL = "serial"
    """One call at a time; the core puts callers in a queue."""
    BATCHED = "batched"
    """One call at a time, as for serial; but a call may bring a batch, whose outputs are decoded together."""
    THREAD_SAFE = "thread_safe"
    """Many threads may call; calls do not share work."""
    CONTINUOUS_BATCHING = "continuous_batching"
    """Calls that run together share each step over the weights."""


def _check_import_string(text: str) -> str:
    if not _IMPORT_STRING.fullmatch(text):
        raise ValueError(f"{text!r} is no import string of the form 'package.module:name'")
    return text


def _check_requirement(text: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} is no requirement: {error}") from error
    return text


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no backend name: lower-case letters, digits and _ only")
    return text


BackendName = Annotated[str, AfterValidator(_check_name)]
ImportString = Annotated[str, AfterValidator(_check_import_string)]
RequirementString = Annotated[str, AfterValidator(_check_requirement)]


class FrozenModel(BaseModel):
    """Base of enginebay's data: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceSupport(FrozenModel):
    """One kind of device that a backend can use, and how well.

    Attributes:
        kind: the device kind.
        efficiency: share of the device's memory bandwidth that decoding one stream reaches, 0 to 1.
        compute_efficiency: share of the device's peak FLOP/s that a wide batch reaches, 0 to 1.
        step_overhead: seconds of fixed cost per decoding step (launches, scheduling).
        overhead_bytes: memory beside weights and KV cache (context, workspace, graphs).
        min_compute_capability: lowest CUDA compute capability, as (major, minor).
        min_driver: lowest driver version, as printed by the driver ("550.54.14").
        min_api_version: lowest API version of the device ("1.2" for Vulkan).
        systems: operating systems, as `platform.system()` prints them; empty means all.
        machines: processor architectures, as `platform.machine()` prints them; empty means all.
        install: command that installs a build with this device kind, where it differs from the spec's.
    """

    kind: DeviceKind
    efficiency: float = Field(default=0.6, gt=0, le=1)
    compute_efficiency: float = Field(default=0.3, gt=0, le=1)
    step_overhead: float = Field(default=0.0, ge=0)
    overhead_bytes: int = Field(default=256 << 20, ge=0)
    min_compute_capability: tuple[int, int] | None = None
    min_driver: str | None = None
    min_api_version: str | None = None
    systems: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    install: str | None = None


class QuantizationType(FrozenModel):
    """A type that a quantizer makes.

    Attributes:
        name: as users write it, lower case ("q4_k_m", "int8", "nf4").
        format: of the result.
        bits: expected bits per weight of the whole model, scales and unquantised tensors included.
        engines: names of the backends that load the result, generators or embedders as the model is.
        devices: device kinds that the result runs on in these engines; empty means all of theirs.
        calibration: it needs activations of a text.
    """

    name: str = Field(pattern=r"[a-z0-9][a-z0-9_]*")
    format: ModelFormat
    bits: float = Field(gt=0, le=64)
    engines: tuple[BackendName, ...] = Field(min_length=1)
    devices: frozenset[DeviceKind] = frozenset()
    calibration: bool = False


class BackendSpec(FrozenModel):
    """The declaration of one backend for one interface.

    Attributes:
        name: what users write in configuration; unique for its interface.
        interface: which of the five interfaces it implements.
        summary: one line for listings.
        factory: import string of the callable that opens an engine. None says that the backend is
            declared ahead of its engine: it takes part in matching, as a refusal.
        check: import string of a function without arguments that imports the backend's library and
            returns a `RuntimeReport`; it runs in a child process with a time limit.
        requires: distributions it needs, as requirement strings ("xllamacpp>=2026.10").
        requires_any: distributions of which one must be installed as well: builds of one library under many names.
        install: the command that installs them.
        devices: device kinds it can use.
        formats: model formats it reads.
        architectures: model architectures it knows ("llama", …); empty means any.
        features: what it can do.
        sampling: fields of `SamplingParams` it honours natively, with enginebay's meaning.
        concurrency: how it may be called.
        max_streams: sequences it can decode together; for embedders, texts of one batch.
        options: import string of the pydantic model of its options, or None when it has none.
        default: taken where nothing names a backend of its interface: it needs no server and no account.
        quantization_methods: for generators and embedders: methods of quantised safetensors models that it loads, as
            `quant_method` in config.json names them ("bitsandbytes", "gptq").
        types: for quantizers: what it makes, the order is that of listings.
        memory_ratio: for quantizers: peak memory of a job over the bytes of the source's weights, beside the first
            device's `overhead_bytes`.
    """

    name: BackendName
    interface: Interface
    summary: str = ""
    factory: ImportString | None = None
    check: ImportString | None = None
    requires: tuple[RequirementString, ...] = ()
    requires_any: tuple[RequirementString, ...] = ()
    install: str = ""
    devices: tuple[DeviceSupport, ...] = Field(min_length=1)
    formats: frozenset[ModelFormat] = frozenset()
    architectures: frozenset[str] = frozenset()
    features: frozenset[Feature] = frozenset()
    sampling: frozenset[str] = frozenset()
    concurrency: Concurrency = Concurrency.SERIAL
    max_streams: int = Field(default=1, ge=1)
    options: ImportString | None = None
    default: bool = False
    quantization_methods: frozenset[str] = frozenset()
    types: tuple[QuantizationType, ...] = ()
    memory_ratio: float = Field(default=1.2, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kinds = [device.kind for device in self.devices]
        if len(kinds) != len(set(kinds)):
            raise ValueError(f"backend {self.name!r} declares a device kind twice")
        if (self.requires or self.requires_any) and not self.install:
            raise ValueError(f"backend {self.name!r} requires distributions but names no install command")
        if bool(self.types) is not (self.interface is Interface.QUANTIZER):
            raise ValueError(f"backend {self.name!r}: quantizers declare types, and they alone")
        if len({each.name for each in self.types}) != len(self.types):
            raise ValueError(f"backend {self.name!r} declares a type twice")
        return self

    def device(self, kind: DeviceKind) -> DeviceSupport | None:
        """The support declared for `kind`, or None."""
        return next((device for device in self.devices if device.kind is kind), None)

    def type(self, name: str) -> QuantizationType | None:
        """The type of that name that a quantizer declares, or None."""
        return next((each for each in self.types if each.name == name), None)


class RuntimeReport(FrozenModel):
    """What an installed backend library says of itself on this machine.

    Attributes:
        version: version of the library.
        device_kinds: device kinds that this build can use and sees here.
        details: anything worth showing ("AVX512 = 1", build number).
    """

    version: str
    device_kinds: frozenset[DeviceKind]
    details: str = ""
