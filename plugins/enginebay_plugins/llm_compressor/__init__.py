"""LLM Compressor: GPTQ and AWQ by a calibration text, and int8, as compressed-tensors for vLLM and transformers."""

from collections.abc import Iterable

from enginebay import BackendSpec, DeviceKind, DeviceSupport, Interface, ModelFormat, hookimpl
from enginebay.spec import QuantizationType

api_version = 1

_BITS = {"gptq_int4": 5.2, "awq_int4": 5.2, "int8": 8.6}

LLM_COMPRESSOR = BackendSpec(
    name="llm_compressor",
    interface=Interface.QUANTIZER,
    summary="LLM Compressor: GPTQ and AWQ with weights of 4 bits, weights and activations of 8; for vLLM",
    factory="enginebay_plugins.llm_compressor.quantizer:LlmCompressorQuantizer",
    check="enginebay_plugins.llm_compressor.checks:check",
    requires=("llmcompressor>=0.14",),
    install="pip install 'enginebay[llm-compressor]', in an environment of its own: it pins transformers",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    options="enginebay_plugins.llm_compressor.options:LlmCompressorOptions",
    types=tuple(
        QuantizationType(
            name=name,
            format=ModelFormat.SAFETENSORS,
            bits=bits,
            engines=("vllm", "transformers"),
            calibration=name != "int8",
        )
        for name, bits in _BITS.items()
    ),
    memory_ratio=2.5,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The quantizer."""
    return [LLM_COMPRESSOR]
