"""torchao: quantising to int8 without calibration, for transformers and vLLM."""

from collections.abc import Iterable

from enginebay import BackendSpec, DeviceKind, DeviceSupport, Interface, ModelFormat, hookimpl
from enginebay.spec import QuantizationType

api_version = 1

# No int4: of torchao's layouts, the plain and the preshuffled one are made on CUDA GPUs by another library (mslk), the
# tiled one on CUDA GPUs, that of 32 bits on XPUs and NPUs; that for CPUs and the sparse one cannot be saved as
# safetensors; and weights of 4 bits for any device are stored in 8.
TORCHAO = BackendSpec(
    name="torchao",
    interface=Interface.QUANTIZER,
    summary="torchao: int8 weights with a scale for each row; embeddings and output layer stay as they are",
    factory="enginebay_plugins.torchao.quantizer:TorchaoQuantizer",
    check="enginebay_plugins.torchao.checks:check",
    requires=("torchao>=0.18", "transformers>=5", "torch>=2.11", "accelerate>=1"),
    install="pip install 'enginebay[torchao,transformers]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    options="enginebay_plugins.torchao.options:TorchaoOptions",
    types=(QuantizationType(name="int8", format=ModelFormat.SAFETENSORS, bits=8.6, engines=("transformers", "vllm")),),
    memory_ratio=2.5,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The quantizer."""
    return [TORCHAO]
