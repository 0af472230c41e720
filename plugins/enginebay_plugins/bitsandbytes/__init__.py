"""bitsandbytes: quantising to int8, nf4 and fp4 without calibration, for transformers."""

from collections.abc import Iterable

from enginebay import BackendSpec, DeviceKind, DeviceSupport, Interface, ModelFormat, hookimpl
from enginebay.spec import QuantizationType

api_version = 1

_BITS = {"int8": 8.6, "nf4": 5.4, "fp4": 5.4}

BITSANDBYTES = BackendSpec(
    name="bitsandbytes",
    interface=Interface.QUANTIZER,
    summary="bitsandbytes: LLM.int8, nf4 and fp4 in blocks of 64 weights; embeddings and output layer stay as they are",
    factory="enginebay_plugins.bitsandbytes.quantizer:BitsAndBytesQuantizer",
    check="enginebay_plugins.bitsandbytes.checks:check",
    requires=("bitsandbytes>=0.45", "transformers>=4.56", "torch>=2.4", "accelerate>=1"),
    install="pip install 'enginebay[bitsandbytes,transformers]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    options="enginebay_plugins.bitsandbytes.options:BitsAndBytesOptions",
    types=tuple(
        QuantizationType(name=name, format=ModelFormat.SAFETENSORS, bits=bits, engines=("transformers",))
        for name, bits in _BITS.items()
    ),
    memory_ratio=2.5,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The quantizer."""
    return [BITSANDBYTES]
