"""A request that the chosen engine cannot serve goes to one that can, where the configuration leaves it open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginebay import Bay
from enginebay.errors import FallbackWarning, UnsupportedParameterError
from enginebay.matching.requirement import Converting

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
def bay(smollm2_ctranslate2: Path, smollm2_safetensors: Path, own_folders: Path):
    """A bay whose converted models are those of the session, and that has no way to llama.cpp's engines."""
    (own_folders / "data").mkdir(exist_ok=True)
    (own_folders / "data" / "converted").symlink_to(smollm2_ctranslate2.parent)
    with Bay(overrides={"plugins": {"deny": ["gguf"]}}) as bay:
        yield bay


def test_auto_goes_elsewhere(bay: Bay, smollm2_safetensors: Path) -> None:
    model = str(smollm2_safetensors)
    handle = bay.generator(model, conversion=Converting.AUTO, context_length=512)
    assert handle.spec.name == "ctranslate2"
    assert handle.decision.chosen is not None
    assert handle.decision.chosen.conversion is not None
    with pytest.warns(FallbackWarning, match=r"json_schema.*goes to transformers"):
        result = handle.chat("Where is the Eiffel Tower?", json_schema=SCHEMA, temperature=0, max_tokens=30)
    assert result.backend == "transformers"
    assert json.loads(result.text)["city"] in ("Paris", "Rome")
    assert handle.chat("Hi", temperature=0, max_tokens=2).backend == "ctranslate2"


def test_a_forced_backend_gives_the_error_with_alternatives(bay: Bay, smollm2_safetensors: Path) -> None:
    handle = bay.generator(str(smollm2_safetensors), backend="ctranslate2", context_length=512)
    with pytest.raises(UnsupportedParameterError, match="json_schema") as caught:
        handle.chat("Hi", json_schema=SCHEMA, max_tokens=5)
    assert "transformers" in str(caught.value)


def test_a_configured_need_decides_from_the_start(bay: Bay, smollm2_safetensors: Path) -> None:
    handle = bay.generator(
        str(smollm2_safetensors), conversion="auto", context_length=512, sampling={"json_schema": SCHEMA}
    )
    assert handle.spec.name == "transformers"


def test_never_means_never(bay: Bay, smollm2_safetensors: Path) -> None:
    decision = bay.explain(str(smollm2_safetensors), conversion="never", context_length=512)
    assert {match.backend for match in decision.matches if match.accepted} == {"transformers"}
