"""onnxruntime: embedding on CPUs and CUDA GPUs in float32 or 8 bits, quantising, and ONNX from safetensors."""

from collections.abc import Iterable

from enginebay import (
    BackendSpec,
    Concurrency,
    ConverterSpec,
    DeviceKind,
    DeviceSupport,
    Interface,
    ModelFormat,
    hookimpl,
)
from enginebay.spec import QuantizationType

api_version = 1

ONNX = BackendSpec(
    name="onnx",
    interface=Interface.EMBEDDER,
    summary="onnxruntime: float32 and int8 on CPUs and CUDA GPUs",
    factory="enginebay_plugins.onnx.engine:open_engine",
    check="enginebay_plugins.onnx.checks:check",
    requires=("tokenizers>=0.21",),
    requires_any=("onnxruntime>=1.20", "onnxruntime-gpu>=1.20"),
    install="pip install 'enginebay[onnx]'",
    devices=(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.6, compute_efficiency=0.4, step_overhead=5e-4),
        DeviceSupport(
            kind=DeviceKind.CUDA,
            efficiency=0.6,
            compute_efficiency=0.2,
            step_overhead=1e-3,
            overhead_bytes=768 << 20,
            min_compute_capability=(5, 2),
            min_driver="525.60.13",
            install="pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]>=1.20'",
        ),
    ),
    formats=frozenset({ModelFormat.ONNX}),
    concurrency=Concurrency.THREAD_SAFE,
    max_streams=64,
    options="enginebay_plugins.onnx.options:OnnxOptions",
)

ONNX_QUANTIZER = BackendSpec(
    name="onnx",
    interface=Interface.QUANTIZER,
    summary="onnxruntime's dynamic quantisation: embedders in 8 bits, with a scale for each channel",
    factory="enginebay_plugins.onnx.quantizer:OnnxQuantizer",
    check=ONNX.check,
    requires=("onnx>=1.17",),
    requires_any=ONNX.requires_any,
    install="pip install 'enginebay[onnx-export]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    formats=ONNX.formats,
    options="enginebay_plugins.onnx.options:OnnxQuantizerOptions",
    types=tuple(
        QuantizationType(name=name, format=ModelFormat.ONNX, bits=11.8, engines=("onnx",)) for name in ("int8", "uint8")
    ),
    memory_ratio=6.7,
)

SAFETENSORS_TO_ONNX = ConverterSpec(
    name="safetensors_to_onnx",
    source=ModelFormat.SAFETENSORS,
    target=ModelFormat.ONNX,
    factory="enginebay_plugins.onnx.converter:convert",
    seconds_per_gb=60,
    defaults={"quantization": "none"},
    requires=("onnx>=1.17", "onnxruntime>=1.20", "safetensors>=0.5", "torch>=2.4", "transformers>=4.56"),
    install="pip install 'enginebay[onnx-export]'",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The embedder and the quantizer."""
    return [ONNX, ONNX_QUANTIZER]


@hookimpl
def converters() -> Iterable[ConverterSpec]:
    """Into ONNX."""
    return [SAFETENSORS_TO_ONNX]
