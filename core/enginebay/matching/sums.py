"""The arithmetic of an estimate, for people."""

from __future__ import annotations

from enginebay.matching.decision import Estimate
from enginebay.models.conversion import Conversion


def size(count: float) -> str:
    """Bytes in MiB or GiB: 1073741824 -> "1.00 GiB"."""
    return f"{count / (1 << 30):.2f} GiB" if abs(count) >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"


def memory_sum(estimate: Estimate) -> str:
    """weights + KV cache + overhead = total; embedders have no cache."""
    cache = f" + {size(estimate.kv_cache_bytes)} KV cache ({estimate.streams} x {estimate.context_length} tokens)"
    return (
        f"{size(estimate.weight_bytes)} weights{'' if estimate.compute else cache} + "
        f"{size(estimate.overhead_bytes)} overhead"
        f" = {size(estimate.total_bytes)}"
    )


def arithmetic(estimate: Estimate) -> list[str]:
    """The sums behind an estimate, a line each."""
    lines = [f"memory: {memory_sum(estimate)} of {size(estimate.available_bytes)} free"]
    if estimate.device_layers < estimate.total_layers:
        lines.append(
            f"offload: {estimate.device_layers} of {estimate.total_layers} layers on the device,"
            f" {size(estimate.host_bytes)} in main memory"
        )
    together = f", {estimate.throughput:.1f} for {estimate.streams}" if estimate.streams > 1 else ""
    arithmetic = f"{estimate.compute / 1e9:.0f} GFLOP/s and " if estimate.compute else ""
    lines.append(
        f"speed: {arithmetic}weights read at {estimate.bandwidth / 1e9:.1f} GB/s ({estimate.bandwidth_source} x"
        f" efficiency) give {estimate.tokens_per_second:.1f} tokens/s for one {estimate.unit}{together}"
        f" ({estimate.source})"
    )
    return lines


def told_conversion(conversion: Conversion) -> str:
    """A conversion in words: "gguf -> safetensors -> ctranslate2, about 40 s"."""
    return f"{' -> '.join(conversion.formats)}, about {max(1, round(conversion.seconds))} s"
