"""enginebay: run, search with, tune and quantise language models on whichever engine fits the machine.

Names are imported on first use, so that `import enginebay` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from enginebay._version import __version__

if TYPE_CHECKING:
    from enginebay.bay import Bay as Bay
    from enginebay.errors import EnginebayError as EnginebayError
    from enginebay.hardware.profile import CpuInfo as CpuInfo
    from enginebay.hardware.profile import Device as Device
    from enginebay.hardware.profile import HardwareProfile as HardwareProfile
    from enginebay.hookspecs import EngineEvent as EngineEvent
    from enginebay.hookspecs import RequestEvent as RequestEvent
    from enginebay.hookspecs import hookimpl as hookimpl
    from enginebay.interfaces.embedder import Embedded as Embedded
    from enginebay.interfaces.embedder import Embedder as Embedder
    from enginebay.interfaces.filters import F as F
    from enginebay.interfaces.filters import Filter as Filter
    from enginebay.interfaces.generator import CallbackGenerator as CallbackGenerator
    from enginebay.interfaces.generator import Chunk as Chunk
    from enginebay.interfaces.generator import FinishReason as FinishReason
    from enginebay.interfaces.generator import GenerationRequest as GenerationRequest
    from enginebay.interfaces.generator import Generator as Generator
    from enginebay.interfaces.generator import TokenLogprob as TokenLogprob
    from enginebay.interfaces.generator import Usage as Usage
    from enginebay.interfaces.logits import LogitsModel as LogitsModel
    from enginebay.interfaces.logits import Vocabulary as Vocabulary
    from enginebay.interfaces.loop_generator import LoopGenerator as LoopGenerator
    from enginebay.interfaces.quantizer import Quantizer as Quantizer
    from enginebay.interfaces.tuner import Tuner as Tuner
    from enginebay.interfaces.vector_store import CollectionInfo as CollectionInfo
    from enginebay.interfaces.vector_store import Consistency as Consistency
    from enginebay.interfaces.vector_store import Hit as Hit
    from enginebay.interfaces.vector_store import Metric as Metric
    from enginebay.interfaces.vector_store import Record as Record
    from enginebay.interfaces.vector_store import VectorStore as VectorStore
    from enginebay.matching.decision import Decision as Decision
    from enginebay.matching.requirement import Requirement as Requirement
    from enginebay.matching.requirement import Workload as Workload
    from enginebay.models.catalogue import CatalogueEntry as CatalogueEntry
    from enginebay.models.conversion import ConversionRequest as ConversionRequest
    from enginebay.models.conversion import ConverterSpec as ConverterSpec
    from enginebay.models.embedding import EmbeddingFacts as EmbeddingFacts
    from enginebay.models.embedding import Pooling as Pooling
    from enginebay.models.info import ModelInfo as ModelInfo
    from enginebay.opening import OpenRequest as OpenRequest
    from enginebay.opening import StoreRequest as StoreRequest
    from enginebay.sampling.params import Constraint as Constraint
    from enginebay.sampling.params import SamplingParams as SamplingParams
    from enginebay.spec import BackendSpec as BackendSpec
    from enginebay.spec import Concurrency as Concurrency
    from enginebay.spec import DeviceKind as DeviceKind
    from enginebay.spec import DeviceSupport as DeviceSupport
    from enginebay.spec import Feature as Feature
    from enginebay.spec import Interface as Interface
    from enginebay.spec import ModelFormat as ModelFormat
    from enginebay.spec import RuntimeReport as RuntimeReport

_HOMES = {
    "bay": ("Bay",),
    "errors": ("EnginebayError",),
    "hardware.profile": ("CpuInfo", "Device", "HardwareProfile"),
    "hookspecs": ("EngineEvent", "RequestEvent", "hookimpl"),
    "interfaces.embedder": ("Embedded", "Embedder"),
    "interfaces.filters": ("F", "Filter"),
    "interfaces.generator": (
        "CallbackGenerator",
        "Chunk",
        "FinishReason",
        "GenerationRequest",
        "Generator",
        "TokenLogprob",
        "Usage",
    ),
    "interfaces.logits": ("LogitsModel", "Vocabulary"),
    "interfaces.loop_generator": ("LoopGenerator",),
    "interfaces.quantizer": ("Quantizer",),
    "interfaces.tuner": ("Tuner",),
    "interfaces.vector_store": ("CollectionInfo", "Consistency", "Hit", "Metric", "Record", "VectorStore"),
    "matching.decision": ("Decision",),
    "matching.requirement": ("Requirement", "Workload"),
    "models.catalogue": ("CatalogueEntry",),
    "models.conversion": ("ConversionRequest", "ConverterSpec"),
    "models.embedding": ("EmbeddingFacts", "Pooling"),
    "models.info": ("ModelInfo",),
    "opening": ("OpenRequest", "StoreRequest"),
    "sampling.params": ("Constraint", "SamplingParams"),
    "spec": (
        "BackendSpec",
        "Concurrency",
        "DeviceKind",
        "DeviceSupport",
        "Feature",
        "Interface",
        "ModelFormat",
        "RuntimeReport",
    ),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'enginebay' has no attribute {name!r}")
    value = getattr(import_module(f"enginebay.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
