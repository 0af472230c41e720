"""The matcher on machines, models and specs that nobody thought of."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from enginebay import BackendSpec, Concurrency, Device, DeviceKind, DeviceSupport, HardwareProfile, ModelInfo
from enginebay.hardware.profile import CpuInfo, MemoryInfo, SystemInfo
from enginebay.matching.decision import Availability, Decision, Measurement, RefusalCode
from enginebay.matching.match import match
from enginebay.matching.report import explanation
from enginebay.matching.requirement import Requirement, Workload
from enginebay.spec import Feature, Interface, ModelFormat

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KINDS = [DeviceKind.CPU, DeviceKind.CUDA, DeviceKind.VULKAN, DeviceKind.METAL, DeviceKind.REMOTE]
GIB = 1 << 30
SHARE = st.floats(0.01, 1)
FIGURE = st.none() | st.floats(1e9, 1e15)

MODELS = st.builds(
    ModelInfo,
    reference=st.just("any"),
    format=st.sampled_from([ModelFormat.GGUF, ModelFormat.SAFETENSORS]),
    architecture=st.sampled_from(["llama", ""]),
    parameters=st.integers(0, 10**12),
    weight_bytes=st.integers(0, 500 * GIB),
    layers=st.integers(0, 200),
    kv_heads=st.integers(0, 128),
    head_dim=st.integers(0, 256),
    vocabulary=st.integers(0, 300_000),
    context_length=st.integers(0, 1 << 20),
    active_share=SHARE,
)
REQUIREMENTS = st.builds(
    Requirement,
    model=st.none() | MODELS,
    workload=st.sampled_from(Workload),
    context_length=st.none() | st.integers(1, 1 << 20),
    streams=st.none() | st.integers(1, 1000),
    memory_limit=st.none() | st.integers(1, 100 * GIB),
    device=st.sampled_from([None, None, "cuda", "cpu", "nowhere"]),
    backend=st.sampled_from([None, None, "a", "z"]),
    allow_software_devices=st.booleans(),
)
SUPPORTS = st.lists(
    st.builds(
        DeviceSupport,
        kind=st.sampled_from(KINDS),
        efficiency=SHARE,
        compute_efficiency=SHARE,
        step_overhead=st.sampled_from([0.0, 1e-3]),
        overhead_bytes=st.integers(0, 4 * GIB),
        min_driver=st.sampled_from([None, "525.60"]),
        min_api_version=st.sampled_from([None, "1.2"]),
    ),
    min_size=1,
    unique_by=lambda support: support.kind,
)


@st.composite
def specs(draw: st.DrawFn) -> list[BackendSpec]:
    return [
        BackendSpec(
            name=name,
            interface=Interface.GENERATOR,
            devices=tuple(draw(SUPPORTS)),
            formats=draw(st.frozensets(st.sampled_from([ModelFormat.GGUF, ModelFormat.SAFETENSORS]))),
            features=draw(st.frozensets(st.sampled_from([Feature.PARTIAL_OFFLOAD, Feature.LORA]))),
            concurrency=draw(st.sampled_from(Concurrency)),
            max_streams=draw(st.integers(1, 256)),
        )
        for name in draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
    ]


@st.composite
def machines(draw: st.DrawFn) -> HardwareProfile:
    memory = draw(st.integers(1, 1024 * GIB))
    devices = [
        Device(
            id="cpu" if kind is DeviceKind.CPU else f"{kind.value}:{index}",
            kind=kind,
            name=draw(st.sampled_from(["", "some [red]GPU"])),
            memory_total=1024 * GIB,
            memory_available=draw(st.integers(0, 1024 * GIB)),
            unified=draw(st.booleans()),
            software=draw(st.booleans()),
            driver=draw(st.sampled_from([None, "", "470.1", "550.1", "unknown"])),
            api_version=draw(st.sampled_from([None, "1.1", "1.3.2"])),
            memory_bandwidth=draw(FIGURE),
            compute=draw(FIGURE),
        )
        for index, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)))
    ]
    return HardwareProfile(
        created=NOW,
        system=SystemInfo(system="Linux", release="", machine="x86_64", python="3.11"),
        cpu=CpuInfo(vendor="", model="", architecture="", physical_cores=1, logical_cores=1, usable_cores=1),
        memory=MemoryInfo(total=1024 * GIB, available=memory),
        devices=tuple({device.id: device for device in devices}.values()),
    )


MISSING = Availability(code=RefusalCode.NOT_INSTALLED, message="b is not installed", hint="pip install b", version=None)


@given(REQUIREMENTS, machines(), specs(), st.booleans())
def test_whatever_is_asked_the_decision_holds_together(
    requirement: Requirement, profile: HardwareProfile, declared: list[BackendSpec], assume_installed: bool
) -> None:
    availability = {"a": Availability(version="1"), "b": MISSING}
    measured = [
        Measurement(
            backend="a", device="cpu", version="1", model_digest=requirement.model.digest, streams=4,
            tokens_per_second=50, ttft=0.1, measured=NOW,
        )
        for _ in range(requirement.model is not None)
    ]  # fmt: skip
    decision = match(
        requirement,
        profile,
        declared,
        availability=availability,
        measurements=measured,
        assume_installed=assume_installed,
        now=NOW,
    )
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    assert decision.why
    assert list(explanation(decision, verbose=True))
    assert {found.backend for found in decision.matches} == {spec.name for spec in declared}
    accepted = [found.accepted for found in decision.matches]
    assert accepted == sorted(accepted, reverse=True), "accepted ones first"
    assert decision.chosen == (decision.matches[0] if accepted and accepted[0] else None)
    for found in decision.matches:
        assert all(reason.message and reason.hint for reason in found.reasons)
        if (estimate := found.estimate) is None:
            continue
        assert estimate.total_bytes >= 0
        assert 1 <= estimate.streams <= max(1, requirement.wanted_streams)
        assert 0 <= estimate.device_layers <= estimate.total_layers
        assert math.isfinite(estimate.tokens_per_second)
        assert estimate.tokens_per_second > 0
        assert estimate.throughput >= 0.999 * estimate.tokens_per_second or estimate.source == "measured"
        fits = estimate.total_bytes <= estimate.available_bytes and estimate.host_bytes <= profile.memory.available
        refused = any(reason.code is RefusalCode.MEMORY for reason in found.reasons)
        assert fits != refused, "refused for memory exactly where the sums say so"
