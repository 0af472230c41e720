"""The stated model of memory and speed for embedders.

Memory on the device: weights as stored, plus the backend's fixed overhead, plus the widest activations of one batch
(texts x tokens, 512 of each text at most, x 4 x hidden width x 4 bytes: the feed-forward layer's). There is no KV
cache.

A text is read in one pass, as a prompt is: the pass is bound by arithmetic, 2 FLOP per weight and token (Pope et al.
2022, arXiv:2211.05102), or, for a single short text, by reading the weights once:

    pass(b) = max(weights / bandwidth, 2 x parameters x b x length / compute) + overhead
    one text: length / pass(1)        a batch: b x length / pass(b)        in tokens per second

Rows of the token embedding are looked up, not multiplied: they do not count as parameters. Texts are taken to be
`TEXT_TOKENS` long. Bandwidth and compute are the device's times the efficiency that the backend declares.
"""

from __future__ import annotations

from enginebay.hardware.profile import Device
from enginebay.matching.decision import Estimate
from enginebay.matching.estimate import Estimator
from enginebay.spec import BackendSpec, DeviceSupport

TEXT_TOKENS, LONG_TEXT = 128, 512
ACTIVATION_BYTES = 16
"""Bytes of activations for each token and unit of the hidden width: 4 times the width, in float32."""


class EmbeddingEstimator(Estimator):
    """Estimates for one embedding requirement on one machine."""

    def estimate(
        self, spec: BackendSpec, device: Device, support: DeviceSupport, version: str | None
    ) -> tuple[Estimate, bool]:
        """Memory and speed of a backend on a device, and whether it fits."""
        del version
        model, on = self.model, self._on(device, support)
        batch = min(self.wanted_streams, spec.max_streams)
        activations = batch * min(self.context, LONG_TEXT) * model.embedding_length * ACTIVATION_BYTES
        multiplied = max(0, model.parameters - model.vocabulary * model.embedding_length)

        def speed(texts: int) -> float:
            tokens = texts * TEXT_TOKENS
            arithmetic = 2 * multiplied * tokens / on.compute
            return tokens / max(max(model.weight_bytes / on.bandwidth, arithmetic) + support.step_overhead, 1e-9)

        estimate = Estimate(
            weight_bytes=model.weight_bytes,
            kv_cache_bytes=0,
            overhead_bytes=support.overhead_bytes + activations,
            host_bytes=0,
            available_bytes=self.available(device),
            device_layers=model.layers,
            total_layers=model.layers,
            context_length=self.context,
            streams=batch,
            tokens_per_second=speed(1),
            throughput=speed(batch),
            bandwidth=on.bandwidth,
            bandwidth_source=on.source,
            compute=on.compute,
        )
        return estimate, estimate.total_bytes <= estimate.available_bytes
