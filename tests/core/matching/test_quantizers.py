"""Which quantizer makes what, for machines that are saved as profiles."""

from __future__ import annotations

from importlib import import_module

import pytest

from enginebay import BackendSpec, ConverterSpec, Interface, ModelFormat
from enginebay.errors import JobError
from enginebay.evaluation.search import worth_trying
from enginebay.matching.decision import Availability, RefusalCode
from enginebay.matching.quantizers import Candidate, candidates, choose
from enginebay.matching.requirement import Requirement
from enginebay_plugins.gguf import SAFETENSORS_TO_GGUF
from enginebay_plugins.mlc import SAFETENSORS_TO_MLC
from machines import SAFETENSORS_8B, first_party_specs, generator_specs, machine

MODEL = SAFETENSORS_8B.model_copy(update={"quantization": "BF16"})
CONVERTERS: list[ConverterSpec] = [SAFETENSORS_TO_GGUF]


def quantizer_specs() -> list[BackendSpec]:
    modules = ("bitsandbytes", "torchao", "llm_compressor")
    more = [spec for name in modules for spec in import_module(f"enginebay_plugins.{name}").backends()]
    return [spec for spec in (*first_party_specs(), *more) if spec.interface is Interface.QUANTIZER]


def found_on(name: str, missing: tuple[str, ...] = (), **fields: object) -> list[Candidate]:
    lacking = Availability(code=RefusalCode.NOT_INSTALLED, message="it is not installed", hint="pip install it")
    return candidates(
        Requirement(model=MODEL, **fields),
        machine(name),
        quantizer_specs(),
        generator_specs(),
        quantizer_availability=dict.fromkeys(missing, lacking),
        engine_availability={},
        converters=CONVERTERS,
        assume_installed=True,
    )


def accepted(found: list[Candidate]) -> set[tuple[str, str]]:
    return {(one.type.name, one.engine) for one in found if one.accepted}


def test_a_small_machine_gets_what_fits() -> None:
    on_pi = accepted(found_on("raspberry_pi_5"))
    sizes = {one.type.bits for one in found_on("raspberry_pi_5") if one.accepted}
    assert max(sizes) < 8
    assert ("q4_k_m", "llama_cpp") in on_pi
    assert not any(engine == "vllm" for _, engine in on_pi)


def test_a_large_gpu_gets_the_types_of_vllm() -> None:
    on_h100 = accepted(found_on("h100_server"))
    assert {("gptq_int4", "vllm"), ("awq_int4", "vllm"), ("q4_k_m", "llama_cpp")} <= on_h100


def test_one_engine_can_be_asked_for() -> None:
    found = [one for one in found_on("rtx_4090_workstation", backend="ctranslate2") if one.accepted]
    assert found
    assert {one.engine for one in found} == {"ctranslate2"}


def test_the_fastest_come_first_and_refusals_last() -> None:
    found = found_on("rtx_4090_workstation", missing=("llama_cpp",))
    speeds = [one.speed for one in found if one.accepted]
    assert speeds == sorted(speeds, reverse=True)
    first_refused = next(place for place, one in enumerate(found) if not one.accepted)
    assert not any(one.accepted for one in found[first_refused:])
    assert all(one.making for one in found if one.backend == "llama_cpp")


def test_memory_limits_count() -> None:
    free, tight = (found_on("h100_server", memory_limit=limit) for limit in (None, 6 * 10**9))
    assert accepted(tight) < accepted(free)
    refused = next(one for one in tight if one.type.name == "int16" and one.engine == "ctranslate2")
    assert refused.running[0].code is RefusalCode.MEMORY


def test_the_conversion_is_told() -> None:
    one = choose(found_on("rtx_4090_workstation"), "q4_k_m")
    assert one.conversion is not None
    assert one.conversion.formats == (ModelFormat.SAFETENSORS, ModelFormat.GGUF)


def test_choosing_names_what_is_wrong() -> None:
    found = found_on("rtx_4090_workstation", missing=("bitsandbytes",))
    with pytest.raises(JobError, match=r"no quantizer makes the type 'q4_k_n'[\s\S]*q4_k_"):
        choose(found, "q4_k_n")
    with pytest.raises(JobError, match=r"bitsandbytes cannot make nf4 here: it is not installed[\s\S]*pip install it"):
        choose(found, "nf4")
    with pytest.raises(JobError, match=r"'torchao' does not make the type 'nf4'[\s\S]*int8"):
        choose(found, "nf4", backend="torchao")
    assert choose(found, "Q4_K_M").type.name == "q4_k_m"
    assert choose(found, "int8", backend="torchao").backend == "torchao"


def test_models_of_another_librarys_packing_are_refused() -> None:
    packed = MODEL.model_copy(update={"quantization_method": "gptq"})
    found = candidates(
        Requirement(model=packed), machine("h100_server"), quantizer_specs(), generator_specs(),
        quantizer_availability={}, engine_availability={}, converters=[*CONVERTERS, SAFETENSORS_TO_MLC],
    )  # fmt: skip
    assert all(one.making for one in found)


def test_the_search_looks_at_one_candidate_of_each_size_below_the_original() -> None:
    found = found_on("rtx_4090_workstation")
    sizes = worth_trying(found, 16.0)
    bits = [one.type.bits for one in sizes]
    assert bits == sorted(set(bits))
    assert bits[-1] < 16
    for one in sizes:
        same = [other for other in found if other.accepted and other.type.bits == one.type.bits]
        assert one.speed == max(other.speed for other in same)
