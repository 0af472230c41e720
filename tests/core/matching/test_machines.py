"""Which backend on which device must win on machines we lack, and why."""

from __future__ import annotations

from typing import Any

import pytest

from enginebay import DeviceKind, Feature, ModelInfo
from enginebay.matching.decision import Availability, Match, RefusalCode
from enginebay.matching.match import match
from enginebay.matching.requirement import Requirement, Workload
from machines import GGUF_8B, HUGE, MLC_8B, NAMES, SAFETENSORS_8B, SMALL, decide, generator_specs, machine

LLAMA_CPP = {"llama_cpp", "xllamacpp"}
THROUGHPUT = {"workload": Workload.THROUGHPUT}


def refusal(matches: tuple[Match, ...], backend: str, device: str) -> dict[RefusalCode, str]:
    found = next(match for match in matches if (match.backend, match.device) == (backend, device))
    return {reason.code: reason.message for reason in found.reasons}


@pytest.mark.parametrize(
    ("name", "model", "fields", "backends", "device"),
    [
        # Unified memory at 68 and 300 GB/s: llama.cpp on Metal, the CPU cores reach less of it.
        ("apple_m1_8gb", SMALL, {}, LLAMA_CPP, "metal:0"),
        ("apple_m3_max_64gb", GGUF_8B, {}, LLAMA_CPP, "metal:0"),
        # 16-bit weights fit into 24 GB; many streams share each read of them: vLLM's batching on CUDA.
        ("rtx_4090_workstation", SAFETENSORS_8B, {**THROUGHPUT, "context_length": 2048}, {"vllm"}, "cuda:0"),
        ("h100_server", SAFETENSORS_8B, THROUGHPUT, {"vllm"}, "cuda:0"),
        ("h200_server", SAFETENSORS_8B, THROUGHPUT, {"vllm"}, "cuda:0"),
        # A 4-bit GGUF on the same card: llama.cpp reads it, vLLM's spec does not; CUDA beats Vulkan on one card.
        ("rtx_4090_workstation", GGUF_8B, {}, LLAMA_CPP, "cuda:0"),
        ("h100_server", GGUF_8B, THROUGHPUT, {"xllamacpp"}, "cuda:0"),
        # An APU without ROCm: its GPU reads main memory faster than the cores do.
        ("amd_apu_780m", GGUF_8B, {}, LLAMA_CPP, "vulkan:0"),
        ("amd_apu_780m", MLC_8B, {}, {"mlc"}, "vulkan:0"),
        ("radeon_7900_xtx", GGUF_8B, {}, LLAMA_CPP, "rocm:0"),
        ("radeon_7900_xtx", SAFETENSORS_8B, {**THROUGHPUT, "context_length": 2048}, {"vllm"}, "rocm:0"),
        ("windows_laptop_intel", GGUF_8B, {}, LLAMA_CPP, "vulkan:0"),
        # The Pi's GPU shares its narrow memory and gets less out of it than four cores.
        ("raspberry_pi_5", SMALL, {}, LLAMA_CPP, "cpu"),
        ("epyc_server", GGUF_8B, {}, LLAMA_CPP, "cpu"),
        ("epyc_server", GGUF_8B, THROUGHPUT, {"xllamacpp"}, "cpu"),
        ("container_2gb", SMALL, {}, LLAMA_CPP, "cpu"),
        ("ci_llvmpipe", SMALL, {}, LLAMA_CPP, "cpu"),
        # The driver is too old for CUDA 12, so the CPU has to do.
        ("gtx_1060_old_driver", GGUF_8B, {}, LLAMA_CPP, "cpu"),
    ],
)
def test_the_winner(name: str, model: ModelInfo, fields: dict[str, Any], backends: set[str], device: str) -> None:
    decision = decide(name, model, **fields)
    assert decision.chosen is not None, decision.why
    assert decision.chosen.backend in backends
    assert decision.chosen.device == device
    assert decision.chosen.backend in decision.why


def test_there_are_enough_machines() -> None:
    assert len(NAMES) >= 12
    assert all(machine(name).name for name in NAMES)


def test_a_small_container_refuses_with_the_arithmetic() -> None:
    decision = decide("container_2gb", GGUF_8B)
    assert decision.chosen is None
    message = refusal(decision.matches, "xllamacpp", "cpu")[RefusalCode.MEMORY]
    assert message == (
        "does not fit: 4.53 GiB weights + 1.00 GiB KV cache (1 x 8192 tokens) + 506 MiB overhead = 6.03 GiB; "
        "AMD EPYC 7763 64-Core Processor has 1.80 GiB free"
    )
    assert message in decision.why


def test_an_old_driver_is_refused_with_both_versions() -> None:
    decision = decide("gtx_1060_old_driver", GGUF_8B)
    message = refusal(decision.matches, "llama_cpp", "cuda:0")[RefusalCode.DRIVER]
    assert "470.256.02" in message
    assert "525.60.13" in message


def test_an_old_gpu_is_refused_by_its_compute_capability() -> None:
    decision = decide("gtx_1060_old_driver", SAFETENSORS_8B)
    message = refusal(decision.matches, "vllm", "cuda:0")[RefusalCode.COMPUTE_CAPABILITY]
    assert "6.1" in message
    assert "7.0" in message


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_200_gb_is_refused_or_fits_by_the_sums(name: str) -> None:
    decision = decide(name, HUGE)
    if machine(name).memory.available > 220 * 10**9:
        assert decision.chosen is not None
        return
    assert decision.chosen is None
    assert "186.26 GiB weights" in decision.why


def test_software_devices_never_win_unless_allowed() -> None:
    decision = decide("ci_llvmpipe", SMALL)
    assert RefusalCode.SOFTWARE_DEVICE in refusal(decision.matches, "llama_cpp", "vulkan:0")
    allowed = decide("ci_llvmpipe", SMALL, allow_software_devices=True)
    assert allowed.chosen is not None
    assert allowed.chosen.device == "cpu", "emulated on the CPU, it must not look faster than the CPU"
    only = decide("ci_llvmpipe", SMALL, allow_software_devices=True, device="vulkan")
    assert only.chosen is not None


def test_layers_on_the_device_are_computed_from_memory() -> None:
    decision = decide("rtx_3060_laptop_windows", GGUF_8B)
    offload = next(match for match in decision.matches if match.backend == "llama_cpp" and match.device == "cuda:0")
    assert offload.accepted
    assert offload.estimate is not None
    assert 0 < offload.estimate.device_layers < 32
    assert offload.estimate.total_bytes <= offload.estimate.available_bytes
    assert offload.estimate.host_bytes > 0
    cpu = next(match for match in decision.matches if match.backend == "llama_cpp" and match.device == "cpu")
    assert cpu.estimate is None or offload.estimate.tokens_per_second > cpu.estimate.tokens_per_second


def test_what_is_not_installed_is_refused_with_its_install_command() -> None:
    hint = "pip install vllm"
    missing = Availability(code=RefusalCode.NOT_INSTALLED, message="vllm is not installed", hint=hint)
    requirement = Requirement(model=SAFETENSORS_8B, workload=Workload.THROUGHPUT, context_length=2048)
    profile = machine("rtx_4090_workstation")
    decision = match(requirement, profile, generator_specs(), availability={"vllm": missing})
    assert decision.chosen is not None
    assert decision.chosen.backend == "transformers"
    assert decision.best_if_installed is not None
    assert decision.best_if_installed.backend == "vllm"
    assert decision.best_if_installed.reasons[0].hint == hint


def test_a_needed_feature_sends_the_request_elsewhere() -> None:
    both = decide("epyc_server", GGUF_8B, features=frozenset({Feature.REGEX}))
    assert both.chosen is not None
    assert both.chosen.backend == "xllamacpp"
    penalties = decide("epyc_server", GGUF_8B, sampling=frozenset({"presence_penalty"}))
    assert penalties.chosen is not None
    assert penalties.chosen.backend == "llama_cpp"
    assert RefusalCode.PARAMETER in refusal(penalties.matches, "xllamacpp", "cpu")


@pytest.mark.parametrize("name", NAMES)
def test_every_spec_is_judged_on_every_machine(name: str) -> None:
    decision = decide(name, SMALL)
    assert {match.backend for match in decision.matches} == {spec.name for spec in generator_specs()}
    kinds = {device.kind for device in machine(name).devices}
    for spec in generator_specs():
        if not kinds & {support.kind for support in spec.devices}:
            assert RefusalCode.NO_DEVICE in refusal(decision.matches, spec.name, "")
    assert DeviceKind.CPU in kinds
