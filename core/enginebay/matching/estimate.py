"""The stated model of memory and speed.

Memory on the device: weights as stored, plus the KV cache (2 x layers x key-value heads x head width x 2 bytes for each
token of each stream's context), plus the backend's fixed overhead, plus a workspace for the logits of one prefill batch
(512 x vocabulary x 4 bytes, which is what llama.cpp reports as its compute buffer).

Speed is the roofline (Williams, Waterman, Patterson 2009) of one decoding step over a batch of b streams, as Pope et
al. 2022 (arXiv:2211.05102) lay it out: the step reads every active weight once and computes 2 FLOP per active weight
and stream, whichever takes longer, and reads each stream's own KV cache, taken as half full:

    step(b) = max(weights / bandwidth, 2 x parameters x b / compute) + b x cache / bandwidth + overhead
    one stream: 1 / step(1)        all together: b / step(b)

Only continuous batching shares a step. Calls of a thread-safe backend each read the weights for themselves and share
the device, so b of them take b x step(1), of which the overheads overlap; a serial backend decodes one stream whatever
is asked.

Bandwidth and compute are the device's, times the efficiency the backend declares. A figure that the probe could not
read is assumed from `ASSUMED`. Layers left in main memory are read at the CPU's bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from enginebay.hardware.profile import Device, HardwareProfile
from enginebay.matching.decision import Estimate, Measurement
from enginebay.matching.requirement import Requirement
from enginebay.models.info import ModelInfo
from enginebay.spec import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature

PREFILL_BATCH = 512
SOFTWARE_SHARE = 0.1
"""Share of the CPU's speed that a device emulated on the CPU reaches."""

ASSUMED: Mapping[DeviceKind, tuple[float, float]] = {
    DeviceKind.CPU: (20e9, 1e11),
    DeviceKind.CUDA: (300e9, 2e13),
    DeviceKind.ROCM: (300e9, 1.5e13),
    DeviceKind.METAL: (68e9, 2.5e12),
    DeviceKind.VULKAN: (100e9, 2.5e12),
    DeviceKind.WEBGPU: (50e9, 1e12),
    DeviceKind.REMOTE: (100e9, 1e13),
}
"""Memory bandwidth (bytes/s) and compute (FLOP/s at 16 bits) where the probe read none: cautious, for small devices."""

NO_CPU_SUPPORT = DeviceSupport(kind=DeviceKind.CPU)


_TOGETHER = frozenset({Concurrency.BATCHED, Concurrency.CONTINUOUS_BATCHING})
"""Where streams share each step over the weights."""


class Rates(NamedTuple):
    """What can be got out of a device: bytes/s, FLOP/s, and where the bandwidth comes from."""

    bandwidth: float
    compute: float
    source: str


def rates(device: Device, cpu: Device | None) -> Rates:
    """Bandwidth and compute of a device, before any backend's efficiency."""
    bandwidth, compute = ASSUMED[device.kind]
    source = "assumed"
    like = cpu if device.software or (device.unified and device.memory_bandwidth is None) else device
    if like is not None and like.memory_bandwidth is not None:
        bandwidth, source = like.memory_bandwidth, like.bandwidth_source
    if device.compute is not None and not device.software:
        compute = device.compute
    share = SOFTWARE_SHARE if device.software else 1.0
    return Rates(bandwidth * share, compute * share, source)


class Estimator:
    """Estimates for one requirement on one machine.

    Args:
        measurements: speeds measured on this machine, by (backend, device, version, model digest).
        more_devices: devices beside the machine's own.
    """

    def __init__(
        self,
        requirement: Requirement,
        model: ModelInfo,
        hardware: HardwareProfile,
        measurements: Mapping[tuple[str, str, str, str], list[Measurement]],
        more_devices: Sequence[Device] = (),
    ) -> None:
        self.model = model
        self.limit = requirement.memory_limit
        self.asked_streams = requirement.streams
        self.wanted_streams = requirement.wanted_streams
        self.context = requirement.wanted_context_length
        self.cache = model.kv_bytes_per_token() * self.context
        self.active_bytes = model.weight_bytes * model.active_share
        self.active_flop = 2 * model.parameters * model.active_share
        self.workspace = PREFILL_BATCH * model.vocabulary * 4
        self.cpu = hardware.device("cpu")
        self.host_available = hardware.memory.available
        self.rates = {device.id: rates(device, self.cpu) for device in (*hardware.devices, *more_devices)}
        self.digest = model.digest
        self._measurements = measurements

    def estimate(
        self, spec: BackendSpec, device: Device, support: DeviceSupport, version: str | None
    ) -> tuple[Estimate, bool]:
        """Memory and speed of a backend on a device, and whether it fits."""
        available = self.available(device)
        fixed = support.overhead_bytes + self.workspace
        wanted = 1 if spec.concurrency is Concurrency.SERIAL else min(self.wanted_streams, spec.max_streams)
        streams = wanted if wanted == 1 or self.asked_streams else self._fitting(wanted, available - fixed)
        layers, total_layers = self.model.layers, self.model.layers
        fits = self.model.weight_bytes + streams * self.cache + fixed <= available
        if (
            not fits
            and Feature.PARTIAL_OFFLOAD in spec.features
            and device.kind is not DeviceKind.CPU
            and not device.unified
        ):
            layers = self._layers_that_fit(available - fixed, streams)
            fits = layers > 0 and self._host_bytes(layers, streams) <= self.host_available
            layers = layers if fits else total_layers
        share = self._share(layers)
        on = self._on(device, support)
        alone = 1 / self._seconds(spec, support, on, share, 1)
        estimate = Estimate(
            weight_bytes=int(self.model.weight_bytes * share),
            kv_cache_bytes=int(streams * self.cache * share),
            overhead_bytes=fixed,
            host_bytes=self._host_bytes(layers, streams) if share < 1 else 0,
            available_bytes=available,
            device_layers=layers,
            total_layers=total_layers,
            context_length=self.context,
            streams=streams,
            tokens_per_second=alone,
            throughput=alone if streams == 1 else streams / self._seconds(spec, support, on, share, streams),
            bandwidth=on.bandwidth,
            bandwidth_source=on.source,
        )
        known = self._measurements.get((spec.name, device.id, version or "", self.digest))
        if known:

            def expected(streams: int) -> float:
                return streams / self._seconds(spec, support, on, share, streams)

            estimate = _measured(estimate, known, expected)
        return estimate, fits

    def available(self, device: Device) -> int:
        """Bytes the engine may take on the device; a server's memory is its own affair."""
        if device.kind is DeviceKind.REMOTE:
            return 1 << 60
        free = device.memory_available
        if device.kind is DeviceKind.CPU or device.unified:
            free = min(free, self.host_available)
        return free if self.limit is None else min(free, self.limit)

    def _fitting(self, wanted: int, available: int) -> int:
        """The widest batch up to `wanted` that leaves room for the weights; 1 at least."""
        if not self.cache:
            return wanted
        return max(1, min(wanted, (available - self.model.weight_bytes) // self.cache))

    def _layers_that_fit(self, available: int, streams: int) -> int:
        """Layers whose weights and cache fit; embeddings and output count as one more layer's weights."""
        if not self.model.layers:
            return 0
        per_layer = self.model.weight_bytes / (self.model.layers + 1) + streams * self.cache / self.model.layers
        return max(0, min(self.model.layers - 1, int(available / per_layer))) if per_layer else 0

    def _share(self, layers: int) -> float:
        return 1.0 if layers == self.model.layers else layers / (self.model.layers + 1)

    def _host_bytes(self, layers: int, streams: int) -> int:
        return int((self.model.weight_bytes + streams * self.cache) * (1 - self._share(layers)))

    def _on(self, device: Device, support: DeviceSupport) -> Rates:
        bandwidth, compute, source = self.rates[device.id]
        return Rates(bandwidth * support.efficiency, compute * support.compute_efficiency, source)

    def _step(self, streams: int, on: Rates, share: float = 1.0) -> float:
        """Seconds of one decoding step of `streams` streams over `share` of the layers, without the fixed overhead."""
        weights = self.active_bytes / on.bandwidth
        arithmetic = self.active_flop * streams / on.compute
        return share * (max(weights, arithmetic) + streams * self.cache / 2 / on.bandwidth)

    def _seconds(self, spec: BackendSpec, support: DeviceSupport, on: Rates, share: float, streams: int) -> float:
        passes, batch = (1, streams) if spec.concurrency in _TOGETHER else (streams, 1)
        seconds = passes * self._step(batch, on, share) + support.step_overhead
        if share < 1 and self.cpu is not None:
            host = self._on(self.cpu, spec.device(DeviceKind.CPU) or NO_CPU_SUPPORT)
            seconds += passes * self._step(batch, host, 1 - share)
        return max(seconds, 1e-9)


def _measured(estimate: Estimate, known: list[Measurement], expected: Callable[[int], float]) -> Estimate:
    """The estimate scaled by what was measured at the nearest number of streams, over what was expected there."""

    def scale(streams: int) -> float:
        nearest = min(known, key=lambda measured: (abs(measured.streams - streams), measured.streams))
        return nearest.tokens_per_second / expected(nearest.streams)

    return replace(
        estimate,
        tokens_per_second=estimate.tokens_per_second * scale(1),
        throughput=estimate.throughput * scale(estimate.streams),
        source="measured",
    )
