"""MLC's backend against a stand-in for mlc_llm (see its docstring): the calls are checked, MLC itself is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from class_bays import folders
from enginebay import Bay, ConversionRequest, DeviceKind, Interface, ModelFormat
from enginebay.errors import EngineOpenError, InvalidParameterError, ModelFormatError, UnsupportedParameterError
from enginebay.generation.handle import GeneratorHandle
from enginebay.hardware.profile import HardwareProfile
from enginebay.models.headers import read_info
from enginebay.sampling.params import Constraint, SamplingParams
from enginebay.testing.pytest_generators import GeneratorConformance
from enginebay.testing.pytest_quantizers import QuantizerConformance
from enginebay.testing.quantizer_subject import QuantizerSubject
from enginebay_plugins.mlc.converter import convert, library_of
from enginebay_plugins.mlc.sampling import completion_arguments

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture
def bay(stand_in: Path, vulkan_machine: HardwareProfile) -> Iterator[Bay]:
    with Bay(hardware=vulkan_machine) as bay:
        yield bay


class TestStandIn(GeneratorConformance):
    """The kit, on the stand-in; its constraints are the core's, which other engines hold to many more schemas."""

    schemas = 40

    @pytest.fixture(scope="class")
    @classmethod
    def handle(
        cls, mlc_folder: Path, vulkan_machine: HardwareProfile, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[GeneratorHandle]:
        with folders(tmp_path_factory.mktemp("conformance")), Bay(hardware=vulkan_machine) as bay:
            yield bay.generator(str(mlc_folder), backend="mlc", context_length=512, streams=8)


class TestStandInsQuantizer(QuantizerConformance):
    """The kit, on the stand-in, which copies weights in place of packing them: their size is not looked at."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls,
        stand_in: Path,
        smollm2_safetensors: Path,
        vulkan_machine: HardwareProfile,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[QuantizerSubject]:
        root = tmp_path_factory.mktemp("conformance")
        with Bay(hardware=vulkan_machine) as bay:
            spec = bay.plugins.spec(Interface.QUANTIZER, "mlc")
            yield QuantizerSubject(
                bay, spec, str(smollm2_safetensors), ("q4f16_1",), root / "results", kills=1, packs=False
            )


def test_the_stand_in_says_that_it_is_one(stand_in: Path) -> None:
    for file in stand_in.rglob("*.py"):
        assert "stand-in" in file.read_text().split('"""')[1].lower()


def test_the_folder_tells_what_matching_needs(mlc_folder: Path, smollm2_safetensors: Path) -> None:
    info, source = read_info(mlc_folder), read_info(smollm2_safetensors)
    assert info.format is ModelFormat.MLC
    assert info.quantization == "q0f16"
    same = ("architecture", "layers", "heads", "kv_heads", "head_dim", "context_length", "chat_template", "eos")
    assert {name: getattr(info, name) for name in same} == {name: getattr(source, name) for name in same}


def test_the_configuration_ends_outputs_as_the_tokenizer_does(mlc_folder: Path) -> None:
    config = json.loads((mlc_folder / "mlc-chat-config.json").read_text())
    assert config["conv_template"] == {
        "name": "LM",
        "stop_str": [],
        "stop_token_ids": [2],
        "system_prefix_token_ids": None,
    }
    assert (config["temperature"], config["top_p"], config["repetition_penalty"]) == (1.0, 1.0, 1.0)


def test_the_compiled_library_is_taken(bay: Bay, mlc_folder: Path) -> None:
    library = library_of(mlc_folder, DeviceKind.VULKAN)
    assert library is not None
    assert library_of(mlc_folder, DeviceKind.METAL) is None
    handle = bay.generator(str(mlc_folder), backend="mlc", context_length=512, streams=3)
    raw: Any = handle.engine
    assert raw._engine.model_lib == str(library)
    assert raw._engine.device == "vulkan:0"
    config = raw._engine.engine_config
    assert (config.max_num_sequence, config.max_single_sequence_length) == (3, 512)
    assert config.max_total_sequence_length == 3 * 512


def test_closing_ends_mlcs_threads(bay: Bay, mlc_folder: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    handle = bay.generator(str(mlc_folder), backend="mlc", context_length=512)
    raw: Any = handle.engine
    inner = raw._engine
    raw.close()
    assert inner.terminated
    assert {thread.name for thread in threading.enumerate()} <= before


def test_a_stream_that_is_left_is_aborted(bay: Bay, mlc_folder: Path) -> None:
    handle = bay.generator(str(mlc_folder), backend="mlc", context_length=512)
    raw: Any = handle.engine
    with handle.stream("Once upon a time", max_tokens=200) as stream:
        next(iter(stream))
    assert len(raw._engine.aborted) == 1


def test_what_mlc_lacks_is_refused(bay: Bay, mlc_folder: Path) -> None:
    handle = bay.generator(str(mlc_folder), backend="mlc", context_length=512)
    for name, value in {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.2, "regex": "a+", "logprobs": 1}.items():
        with pytest.raises(UnsupportedParameterError, match=name):
            handle.complete("A", max_tokens=1, **{name: value})
    for changes in ({"presence_penalty": 3.0}, {"logit_bias": {5: 200.0}}, {"logit_bias": {10**6: 1.0}}):
        with pytest.raises(InvalidParameterError):
            handle.complete("A", max_tokens=1, **changes)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "integer", "multipleOf": 3}, "multipleOf"),
        ({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}, "uniqueItems"),
        ({"$defs": {"a": {"type": "array", "items": {"type": "number", "multipleOf": 2}}}}, "multipleOf"),
    ],
)
def test_a_schema_that_mlc_would_not_obey_is_refused(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidParameterError, match=told):
        completion_arguments(SamplingParams(constraint=Constraint(json_schema=schema)), 8)


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = {"type": "object", "properties": {"contains": {"type": "string"}}}
    told = completion_arguments(SamplingParams(constraint=Constraint(json_schema=schema)), 8)
    assert json.loads(told["response_format"]["schema"]) == schema


@pytest.mark.parametrize(
    ("options", "told"), [({"quantization": "q9f99"}, "q9f99"), ({"quantization": "q0f16", "model": "x"}, "Unknown")]
)
def test_errors_of_the_commands_are_told(
    options: dict[str, str], told: str, stand_in: Path, smollm2_safetensors: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in smollm2_safetensors.iterdir():
        (source / file.name).symlink_to(file)
    if options.pop("model", None):
        config = json.loads((smollm2_safetensors / "config.json").read_text()) | {"model_type": "x"}
        (source / "config.json").unlink()
        (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match=told):
        convert(ConversionRequest(source, tmp_path / "made", {"device": "", **options}))


def test_a_model_that_mlc_refuses_is_an_error_with_a_way_out(bay: Bay, mlc_folder: Path) -> None:
    with pytest.raises(EngineOpenError, match="Cannot find library") as caught:
        bay.generator(
            str(mlc_folder), backend="mlc", context_length=512, options={"model_lib": "/nowhere/model.so"}
        ).complete("A", max_tokens=1)
    assert caught.value.hint


def test_the_matcher_stands_behind_the_conversion(bay: Bay, smollm2_safetensors: Path) -> None:
    decision = bay.explain(str(smollm2_safetensors), backend="mlc", conversion="auto")
    assert decision.chosen is not None
    assert decision.chosen.backend == "mlc"
    assert decision.chosen.conversion is not None
    assert decision.chosen.conversion.converters == ("safetensors_to_mlc",)
