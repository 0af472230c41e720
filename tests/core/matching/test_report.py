"""The explanation told to people."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from rich.text import Text

from enginebay import DeviceKind, DeviceSupport
from enginebay.matching.decision import Availability, Decision, RefusalCode
from enginebay.matching.match import match
from enginebay.matching.report import explanation
from enginebay.matching.requirement import Requirement, Workload
from enginebay.matching.sums import size
from fake_engine import fake_spec
from machines import GGUF_8B, NAMES, decide, generator_specs, machine


def told(decision: Decision, *, verbose: bool = False) -> str:
    """The explanation as a console shows it."""
    return "\n".join(Text.from_markup(line).plain for line in explanation(decision, verbose=verbose))


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_can_be_explained(name: str) -> None:
    text = told(decide(name, GGUF_8B), verbose=True)
    assert "llama-8b-gguf" in text
    assert all(re.search(rf"\b{spec.name}( on|,|$)", text, re.MULTILINE) for spec in generator_specs())


def test_the_parts_in_order() -> None:
    text = told(decide("radeon_7900_xtx", GGUF_8B))
    places = [text.index(part) for part in ("chosen: llama_cpp on rocm:0", "memory: ", "runner-up: ", "refused: ")]
    assert places == sorted(places)
    assert text.count("memory: ") == 1, "only the chosen one's sums"
    assert told(decide("radeon_7900_xtx", GGUF_8B), verbose=True).count("memory: ") > 1


def test_what_would_win_comes_with_its_command() -> None:
    missing = Availability(code=RefusalCode.NOT_INSTALLED, message="x is not installed", hint="pip install x")
    specs = [fake_spec(), fake_spec(name="faster", devices=(DeviceSupport(kind=DeviceKind.CPU, efficiency=1),))]
    decision = match(Requirement(model=GGUF_8B), machine("epyc_server"), specs, availability={"faster": missing})
    assert decision.chosen is not None
    text = told(decision)
    assert "would win if installed: faster on cpu" in text
    assert "-> pip install x" in text


def test_nothing_chosen_says_why_and_what_to_do() -> None:
    text = told(decide("container_2gb", GGUF_8B))
    assert text.splitlines()[2].startswith("nothing chosen: no backend can run llama-8b-gguf here")
    assert "are missing: take a smaller" in text


def test_what_only_another_wish_excludes_is_told_when_asked() -> None:
    decision = decide("radeon_7900_xtx", GGUF_8B, device="vulkan")
    assert "was asked for" not in told(decision)
    assert "the device vulkan was asked for" in told(decision, verbose=True)


def test_failures_are_told() -> None:
    decision = decide("epyc_server", GGUF_8B).model_copy(update={"failures": ("a on cpu: [red]boom[/]",)})
    assert "did not open: a on cpu: [red]boom[/]" in told(decision), "text, not markup"


def test_text_of_others_is_no_markup() -> None:
    profile = machine("epyc_server")
    odd = profile.devices[0].model_copy(update={"id": "cpu", "name": "[bold]odd[/bold] [/]"})
    model = GGUF_8B.model_copy(update={"reference": "[/red]model"})
    requirement = Requirement(model=model, workload=Workload.THROUGHPUT)
    decision = match(
        requirement, profile.model_copy(update={"devices": (odd,)}), [fake_spec()], now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    text = told(decision, verbose=True)
    assert "[/red]model" in text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 MiB"), (1 << 20, "1 MiB"), (1 << 30, "1.00 GiB"), (1536 << 20, "1.50 GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_level_speeds_are_called_so_and_one_stream_is_told_once() -> None:
    alike = decide("apple_m3_max_64gb", GGUF_8B)
    assert "level with xllamacpp on metal:0" in alike.why
    assert "for 1 (" not in told(alike)
    apart = decide("rtx_4090_workstation", GGUF_8B, workload=Workload.THROUGHPUT)
    assert " times " in apart.why
    assert "tokens/s over " in apart.why


def test_refusals_of_one_text_share_a_line() -> None:
    lines = told(decide(NAMES[0], GGUF_8B), verbose=True).splitlines()
    servers = [line for line in lines if "openai" in line and line.startswith("refused")]
    assert len(servers) == 1
    assert "openai_vllm" in servers[0]
