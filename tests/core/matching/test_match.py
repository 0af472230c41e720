"""The matcher's rules: every refusal, a total order, monotony, measurements, records."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from enginebay import (
    BackendSpec,
    Concurrency,
    Device,
    DeviceKind,
    DeviceSupport,
    Feature,
    HardwareProfile,
    ModelInfo,
    RuntimeReport,
)
from enginebay.hardware.profile import ProbeWarning
from enginebay.matching.decision import Availability, Decision, Measurement, RefusalCode
from enginebay.matching.match import match, version_key
from enginebay.matching.requirement import Requirement, Workload
from fake_engine import fake_model, fake_spec
from machines import GGUF_8B, NAMES, SMALL, first_party_specs, machine

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = fake_model()


def on(profile: HardwareProfile, **changes: Any) -> HardwareProfile:
    return profile.model_copy(update=changes)


def with_gpu(**fields: Any) -> HardwareProfile:
    """The 4090 workstation with facts of its GPU changed."""
    profile = machine("rtx_4090_workstation")
    return on(
        profile,
        devices=tuple(
            device.model_copy(update=fields) if device.id == "cuda:0" else device for device in profile.devices
        ),
    )


def cuda_spec(**fields: Any) -> BackendSpec:
    return fake_spec(devices=(DeviceSupport(kind=DeviceKind.CUDA, **fields),))


CASES: dict[RefusalCode, tuple[Requirement, HardwareProfile, BackendSpec, dict[str, Availability]]] = {
    RefusalCode.NOT_INSTALLED: (
        Requirement(model=MODEL),
        machine("epyc_server"),
        fake_spec(),
        {"fake": Availability(code=RefusalCode.NOT_INSTALLED, message="x is not installed", hint="pip install x")},
    ),
    RefusalCode.TOO_OLD: (
        Requirement(model=MODEL),
        machine("epyc_server"),
        fake_spec(),
        {
            "fake": Availability(
                code=RefusalCode.TOO_OLD, message="x 1 is too old, 2 is needed", hint="pip install -U x"
            )
        },
    ),
    RefusalCode.NO_ENGINE: (
        Requirement(model=MODEL),
        machine("epyc_server"),
        fake_spec(),
        {"fake": Availability(code=RefusalCode.NO_ENGINE, message="no engine yet", hint="wait")},
    ),
    RefusalCode.NOT_LOADABLE: (
        Requirement(model=MODEL),
        on(machine("epyc_server"), warnings=(ProbeWarning(probe="runtime fake", message="libfoo is missing"),)),
        fake_spec(),
        {},
    ),
    RefusalCode.BUILD_LACKS_DEVICE: (
        Requirement(model=MODEL),
        on(
            machine("rtx_4090_workstation"),
            runtimes={"fake": RuntimeReport(version="1", device_kinds=frozenset({DeviceKind.CPU}))},
        ),
        cuda_spec(install="pip install fake-cuda"),
        {},
    ),
    RefusalCode.NO_DEVICE: (Requirement(model=MODEL), machine("epyc_server"), cuda_spec(), {}),
    RefusalCode.SOFTWARE_DEVICE: (
        Requirement(model=MODEL),
        machine("ci_llvmpipe"),
        fake_spec(devices=(DeviceSupport(kind=DeviceKind.VULKAN),)),
        {},
    ),
    RefusalCode.COMPUTE_CAPABILITY: (
        Requirement(model=MODEL),
        with_gpu(compute_capability=(6, 1)),
        cuda_spec(min_compute_capability=(7, 0)),
        {},
    ),
    RefusalCode.DRIVER: (Requirement(model=MODEL), with_gpu(driver="470.1"), cuda_spec(min_driver="525.60.13"), {}),
    RefusalCode.API_VERSION: (
        Requirement(model=MODEL),
        with_gpu(api_version="1.1.0"),
        cuda_spec(min_api_version="1.2"),
        {},
    ),
    RefusalCode.SYSTEM: (Requirement(model=MODEL), with_gpu(), cuda_spec(systems=("Windows",)), {}),
    RefusalCode.FORMAT: (
        Requirement(model=MODEL),
        machine("epyc_server"),
        fake_spec(formats=frozenset({"onnx"})),
        {},
    ),
    RefusalCode.ARCHITECTURE: (
        Requirement(model=MODEL),
        machine("epyc_server"),
        fake_spec(architectures=frozenset({"bert"})),
        {},
    ),
    RefusalCode.CONTEXT_LENGTH: (
        Requirement(model=MODEL, context_length=100_000),
        machine("epyc_server"),
        fake_spec(),
        {},
    ),
    RefusalCode.FEATURE: (
        Requirement(model=MODEL, features=frozenset({Feature.LORA})),
        machine("epyc_server"),
        fake_spec(),
        {},
    ),
    RefusalCode.PARAMETER: (
        Requirement(model=MODEL, sampling=frozenset({"min_p", "stop"})),
        machine("epyc_server"),
        fake_spec(),
        {},
    ),
    RefusalCode.MEMORY: (
        Requirement(model=MODEL.model_copy(update={"weight_bytes": 10**15})),
        machine("epyc_server"),
        fake_spec(),
        {},
    ),
    RefusalCode.OTHER_BACKEND_ASKED: (
        Requirement(model=MODEL, backend="other"),
        machine("epyc_server"),
        fake_spec(),
        {},
    ),
    RefusalCode.OTHER_DEVICE_ASKED: (Requirement(model=MODEL, device="cuda"), machine("epyc_server"), fake_spec(), {}),
}


@pytest.mark.parametrize("code", list(RefusalCode))
def test_every_refusal(code: RefusalCode) -> None:
    requirement, profile, spec, availability = CASES[code]
    decision = match(requirement, profile, [spec], availability=availability)
    assert decision.chosen is None
    (found,) = decision.matches
    assert [reason.code for reason in found.reasons] == [code], "just this one, and it"
    assert found.reasons[0].message
    assert found.reasons[0].hint, "a person must know what to do next"
    assert found.reasons[0].message in decision.why or code.name.startswith("OTHER")


def test_all_reasons_are_told_at_once() -> None:
    requirement = Requirement(model=MODEL, features=frozenset({Feature.LORA}), sampling=frozenset({"min_p"}))
    decision = match(requirement, with_gpu(driver="1"), [cuda_spec(min_driver="2")])
    codes = {reason.code for reason in decision.matches[0].reasons}
    assert codes == {RefusalCode.FEATURE, RefusalCode.PARAMETER, RefusalCode.DRIVER}


def test_assuming_installed_lifts_only_what_an_installation_would() -> None:
    for code in RefusalCode:
        requirement, profile, spec, availability = CASES[code]
        decision = match(requirement, profile, [spec], availability=availability, assume_installed=True)
        lifted = code.value in ("not_installed", "too_old", "no_engine", "not_loadable", "build_lacks_device")
        assert (decision.chosen is not None) == lifted, code


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 1000), throughput=st.booleans())
def test_the_order_of_specs_and_devices_does_not_matter(name: str, seed: int, throughput: bool) -> None:
    workload = Workload.THROUGHPUT if throughput else Workload.LATENCY
    requirement, profile, specs = Requirement(model=GGUF_8B, workload=workload), machine(name), first_party_specs()
    devices = list(profile.devices)
    shuffled = random.Random(seed)
    shuffled.shuffle(specs)
    shuffled.shuffle(devices)
    one = match(requirement, profile, first_party_specs(), assume_installed=True, now=NOW)
    other = match(requirement, on(profile, devices=tuple(devices)), specs, assume_installed=True, now=NOW)
    assert one == other


@given(name=st.sampled_from(NAMES), context=st.sampled_from([512, 4096, 8192]), streams=st.sampled_from([None, 1, 16]))
def test_what_is_accepted_fits(name: str, context: int, streams: int | None) -> None:
    requirement = Requirement(model=GGUF_8B, context_length=context, streams=streams)
    profile = machine(name)
    for found in match(requirement, profile, first_party_specs(), assume_installed=True).matches:
        if found.accepted:
            assert found.estimate is not None
            assert found.estimate.total_bytes <= found.estimate.available_bytes
            assert found.estimate.host_bytes <= profile.memory.available


def scaled(profile: HardwareProfile, *, memory: float = 1, bandwidth: float = 1) -> HardwareProfile:
    def grow(device: Device) -> Device:
        speed = None if device.memory_bandwidth is None else device.memory_bandwidth * bandwidth
        free = int(device.memory_available * memory)
        return device.model_copy(update={"memory_available": free, "memory_bandwidth": speed})

    main = profile.memory.model_copy(update={"available": int(profile.memory.available * memory)})
    return on(profile, devices=tuple(map(grow, profile.devices)), memory=main)


@given(name=st.sampled_from(NAMES), factor=st.floats(1, 20), streams=st.sampled_from([None, 1, 8]))
def test_more_memory_refuses_nothing_that_fitted(name: str, factor: float, streams: int | None) -> None:
    requirement = Requirement(model=GGUF_8B, streams=streams)
    before = match(requirement, machine(name), first_party_specs(), assume_installed=True)
    after = match(requirement, scaled(machine(name), memory=factor), first_party_specs(), assume_installed=True)
    kept = {(found.backend, found.device) for found in after.matches if found.accepted}
    assert {(found.backend, found.device) for found in before.matches if found.accepted} <= kept


@given(name=st.sampled_from(NAMES), factor=st.floats(1, 20))
def test_more_bandwidth_slows_nothing_down(name: str, factor: float) -> None:
    requirement = Requirement(model=GGUF_8B)

    def speeds(profile: HardwareProfile) -> dict[tuple[str, str], float]:
        found = match(requirement, profile, first_party_specs(), assume_installed=True).matches
        return {(one.backend, one.device): one.estimate.tokens_per_second for one in found if one.estimate}

    before, after = speeds(machine(name)), speeds(scaled(machine(name), bandwidth=factor))
    assert all(after[key] >= speed * 0.999999 for key, speed in before.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_is_a_record(name: str) -> None:
    decision = match(Requirement(model=GGUF_8B), machine(name), first_party_specs(), now=NOW)
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    assert decision == match(Requirement(model=GGUF_8B), machine(name), first_party_specs(), now=NOW)


def measurement(**fields: Any) -> Measurement:
    given = {
        "backend": "llama_cpp",
        "device": "cpu",
        "version": "1.0",
        "model_digest": SMALL.digest,
        "streams": 1,
        "tokens_per_second": 1234.0,
        "ttft": 0.1,
        "measured": NOW,
    }
    return Measurement.model_validate(given | fields)


def test_a_measurement_replaces_the_estimate_and_can_turn_the_choice() -> None:
    profile = machine("epyc_server")
    availability = {"llama_cpp": Availability(version="1.0")}
    plain = match(Requirement(model=SMALL), profile, first_party_specs(), availability=availability)
    assert plain.chosen is not None
    assert plain.chosen.backend == "xllamacpp"
    fast = match(
        Requirement(model=SMALL),
        profile,
        first_party_specs(),
        availability=availability,
        measurements=[measurement(tokens_per_second=1e5)],
    )
    assert fast.chosen is not None
    assert fast.chosen.backend == "llama_cpp"
    assert fast.chosen.estimate is not None
    assert fast.chosen.estimate.source == "measured"
    assert fast.chosen.estimate.tokens_per_second == pytest.approx(1e5)


@pytest.mark.parametrize("other", [{"version": "0.9"}, {"device": "cuda:0"}, {"model_digest": "0"}, {"backend": "mlc"}])
def test_a_measurement_of_something_else_counts_for_nothing(other: dict[str, str]) -> None:
    decision = match(
        Requirement(model=SMALL),
        machine("epyc_server"),
        first_party_specs(),
        availability={"llama_cpp": Availability(version="1.0")},
        measurements=[measurement(**other)],
    )
    assert all(found.estimate is None or found.estimate.source == "estimated" for found in decision.matches)


def test_explicit_streams_must_fit_and_wished_ones_are_fitted() -> None:
    profile = machine("rtx_4090_workstation")
    wished = match(
        Requirement(model=GGUF_8B, workload=Workload.THROUGHPUT, device="cuda"), profile, first_party_specs()
    )
    assert wished.chosen is not None
    assert wished.chosen.estimate is not None
    assert 1 < wished.chosen.estimate.streams < 32
    asked = match(
        Requirement(model=GGUF_8B, streams=60, device="cuda", backend="xllamacpp"), profile, first_party_specs()
    )
    found = next(one for one in asked.matches if (one.backend, one.device) == ("xllamacpp", "cuda:0"))
    assert found.estimate is not None
    assert not found.accepted or found.estimate.device_layers < 32


def test_a_memory_limit_is_kept() -> None:
    requirement = Requirement(model=SMALL, memory_limit=100 << 20)
    decision = match(requirement, machine("epyc_server"), first_party_specs())
    assert decision.chosen is None
    assert "100 MiB free" in decision.why


def test_versions_compare_by_number() -> None:
    assert version_key("550.54.14") > version_key("535.183")
    assert version_key("1.10") > version_key("1.9")
    assert version_key("1.2") == version_key("1.2.0")


@pytest.mark.parametrize("driver", [None, "", "some driver", "525.60.13", "525.60.13.0", "NVIDIA 560.35"])
def test_a_driver_that_will_do_or_tells_no_version_is_not_refused(driver: str | None) -> None:
    decision = match(Requirement(model=MODEL), with_gpu(driver=driver), [cuda_spec(min_driver="525.60.13")])
    assert decision.chosen is not None, decision.why


def test_a_device_that_is_not_here_is_named_with_those_that_are() -> None:
    decision = match(Requirement(model=MODEL, device="cuda:3"), machine("rtx_4090_workstation"), [fake_spec()])
    assert decision.chosen is None
    assert "on cuda:3" in decision.why
    assert "cuda:0" in decision.why


def test_an_install_command_comes_from_the_spec_where_availability_has_none() -> None:
    spec = fake_spec(requires=("x",), install="pip install x")
    missing = Availability(code=RefusalCode.NOT_INSTALLED, message="x is not installed")
    decision = match(Requirement(model=MODEL), machine("epyc_server"), [spec], availability={spec.name: missing})
    assert decision.matches[0].reasons[0].hint == "pip install x"


@pytest.mark.parametrize(
    ("concurrency", "gain"),
    [(Concurrency.SERIAL, 1), (Concurrency.THREAD_SAFE, 1), (Concurrency.CONTINUOUS_BATCHING, 6)],
)
def test_only_continuous_batching_shares_the_weights(concurrency: Concurrency, gain: int) -> None:
    support = DeviceSupport(kind=DeviceKind.CUDA, step_overhead=0)
    spec = fake_spec(devices=(support,), concurrency=concurrency, max_streams=8)
    requirement = Requirement(model=GGUF_8B, streams=8, context_length=1024, workload=Workload.THROUGHPUT)
    decision = match(requirement, machine("h100_server"), [spec])
    assert decision.chosen is not None, decision.why
    assert decision.chosen.estimate is not None
    ratio = decision.chosen.estimate.throughput / decision.chosen.estimate.tokens_per_second
    assert ratio == pytest.approx(1) if gain == 1 else ratio > gain


@pytest.mark.parametrize(
    "wrong", [{"streams": 0}, {"tokens_per_second": 0}, {"tokens_per_second": float("inf")}, {"ttft": float("nan")}]
)
def test_an_impossible_measurement_is_no_measurement(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        measurement(**wrong)


def test_speed_by_hand() -> None:
    """The stated model, worked out on paper: 4 GB of weights at 100 GB/s, half of a 2 MB cache, 1 ms of overhead."""
    model = GGUF_8B.model_copy(update={"weight_bytes": 4 * 10**9, "parameters": 0, "layers": 1, "kv_heads": 1})
    support = DeviceSupport(
        kind=DeviceKind.CUDA, efficiency=0.5, compute_efficiency=1, step_overhead=1e-3, overhead_bytes=1000
    )
    spec = fake_spec(devices=(support,), concurrency=Concurrency.CONTINUOUS_BATCHING, max_streams=4)
    decision = match(Requirement(model=model, context_length=4096, streams=4), with_gpu(memory_bandwidth=200e9), [spec])
    assert decision.chosen is not None
    found = decision.chosen.estimate
    assert found is not None
    cache = 2 * 1 * 1 * 128 * 2 * 4096
    assert found.kv_cache_bytes == 4 * cache
    assert found.overhead_bytes == 1000 + 512 * 128256 * 4
    assert found.total_bytes == 4 * 10**9 + found.kv_cache_bytes + found.overhead_bytes
    step = 0.04 + cache / 2 / 100e9 + 1e-3
    assert found.tokens_per_second == pytest.approx(1 / step)
    assert found.throughput == pytest.approx(4 / (step + 3 * cache / 2 / 100e9))


def test_a_mixture_of_experts_reads_its_active_share() -> None:
    sparse = GGUF_8B.model_copy(update={"active_share": 0.25})

    def speed(model: ModelInfo) -> float:
        decision = match(Requirement(model=model), machine("h100_server"), [fake_spec()])
        assert decision.chosen is not None
        assert decision.chosen.estimate is not None
        return decision.chosen.estimate.tokens_per_second

    assert 2 < speed(sparse) / speed(GGUF_8B) <= 4
