"""How a model embeds, as its files say, and that it stays with what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedding_folder import CONFIG, MEAN, write, write_embedding_folder
from enginebay import ConverterSpec, EmbeddingFacts, ModelFormat, Pooling
from enginebay.errors import ModelFormatError
from enginebay.models.converting import ConvertedModels
from enginebay.models.headers import read_info
from enginebay.models.identity import weights_identity
from gguf_writer import FACTS, write_gguf


def facts(folder: Path, **files: Any) -> EmbeddingFacts | None:
    return read_info(write_embedding_folder(folder / "model", **files)).embedding


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (MEAN, Pooling.MEAN),
        ({"pooling_mode_cls_token": True}, Pooling.CLS),
        ({"pooling_mode_lasttoken": True}, Pooling.LAST),
        ({"pooling_mode": "cls"}, Pooling.CLS),
        ({"pooling_mode": ["lasttoken"]}, Pooling.LAST),
        ({"pooling_mode": "max"}, None),
        ({"pooling_mode": ["mean", "cls"]}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None),
        ({}, None),
    ],
)
def test_pooling_of_older_and_newer_files(tmp_path: Path, pooling: dict[str, Any], expected: Pooling | None) -> None:
    found = facts(tmp_path, pooling=pooling)
    assert found is not None
    assert (found.pooling, found.plain) == (expected, expected is not None)


def test_a_model_without_steps_does_not_say_that_it_embeds(tmp_path: Path) -> None:
    assert facts(tmp_path, steps=()) is None


def test_normalisation_and_prompts(tmp_path: Path) -> None:
    found = facts(
        tmp_path, steps=("Transformer", "Pooling", "Normalize"), prompts={"query": "query: ", "passage": "passage: "}
    )
    assert found == EmbeddingFacts(
        pooling=Pooling.MEAN, max_length=64, normalise=True, query_prefix="query: ", document_prefix="passage: "
    )


@pytest.mark.parametrize(
    "files",
    [
        {"steps": ("Transformer", "Pooling", "Dense")},
        {"steps": ("StaticEmbedding",)},
        {"pooling": {**MEAN, "include_prompt": False}},
        {"text": {"do_lower_case": True}},
    ],
)
def test_other_steps_are_not_plain(tmp_path: Path, files: dict[str, Any]) -> None:
    found = facts(tmp_path, **files)
    assert found is not None
    assert not found.plain


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"text": {"max_seq_length": 16}}, 16),
        ({"text": {"max_seq_length": None}, "tokenizer": {"model_max_length": 32}}, 32),
        ({"tokenizer": {"model_max_length": 1000000000000000019884624838656}}, 64),
        ({}, 64),
    ],
)
def test_the_longest_text_is_what_the_authors_say(tmp_path: Path, files: dict[str, Any], expected: int) -> None:
    found = facts(tmp_path, **files)
    assert found is not None
    assert found.max_length == expected


def test_positions_that_stand_for_no_place_do_not_count(tmp_path: Path) -> None:
    folder = write_embedding_folder(tmp_path / "model")
    write(folder / "config.json", {**CONFIG, "model_type": "roberta", "pad_token_id": 1})
    found = read_info(folder).embedding
    assert found is not None
    assert found.max_length == 62


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", {"a": 1}),
        ("modules.json", [{"idx": "x"}]),
        ("modules.json", [3]),
        ("1_Pooling/config.json", [1]),
        ("1_Pooling/config.json", {"pooling_mode": 3}),
        ("sentence_bert_config.json", {"max_seq_length": "long"}),
        ("sentence_bert_config.json", {"max_seq_length": -5}),
        ("config_sentence_transformers.json", {"prompts": ["query"]}),
        ("config_sentence_transformers.json", {"prompts": {"query": 5}}),
    ],
)
def test_senseless_files_are_errors(tmp_path: Path, file: str, content: Any) -> None:
    folder = write_embedding_folder(tmp_path / "model")
    write(folder / file, content)
    with pytest.raises(ModelFormatError):
        read_info(folder)


@pytest.mark.parametrize(("told", "expected"), [(1, Pooling.MEAN), (2, Pooling.CLS), (3, Pooling.LAST)])
def test_gguf_files_name_their_pooling(tmp_path: Path, told: int, expected: Pooling) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", FACTS | {"llama.pooling_type": told})
    assert read_info(path).embedding == EmbeddingFacts(pooling=expected, max_length=64)


@pytest.mark.parametrize("told", [0, 4, 99])
def test_gguf_files_that_pool_nothing_are_no_embedders(tmp_path: Path, told: int) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", FACTS | {"llama.pooling_type": told})
    assert read_info(path).embedding is None


CONVERTER = ConverterSpec(
    name="pretended",
    source=ModelFormat.SAFETENSORS,
    target=ModelFormat.GGUF,
    factory="made_converters:pretend_gguf",
    defaults={"bits": 8},
)


def test_a_converted_model_embeds_as_its_source_does(tmp_path: Path) -> None:
    folder = write_embedding_folder(
        tmp_path / "model", steps=("Transformer", "Pooling", "Normalize"), text={"max_seq_length": 16}
    )
    source = read_info(folder)
    made = read_info(ConvertedModels().make(folder, CONVERTER, {"bits": 8}))
    assert made.format is ModelFormat.GGUF
    assert made.embedding == source.embedding
    other = read_info(ConvertedModels().make(folder, CONVERTER, {"bits": 4}))
    assert weights_identity(made) == weights_identity(other) == weights_identity(source)


def test_what_is_converted_twice_is_still_the_same_model(tmp_path: Path) -> None:
    folder = write_embedding_folder(tmp_path / "model")
    once = ConvertedModels().make(folder, CONVERTER, {"bits": 8})
    back = CONVERTER.model_copy(update={"name": "again", "source": ModelFormat.GGUF})
    twice = ConvertedModels().make(once, back, {})
    assert weights_identity(read_info(twice)) == weights_identity(read_info(folder))
    assert read_info(twice).embedding == read_info(folder).embedding


def test_a_source_that_does_not_say_stays_so(tmp_path: Path) -> None:
    folder = write_embedding_folder(tmp_path / "model", steps=())
    made = ConvertedModels().make(folder, CONVERTER, {})
    assert read_info(made).embedding is None, "the file names a pooling that its source does not"


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    one, same, other = (
        read_info(write_embedding_folder(tmp_path / name, fill=fill))
        for name, fill in (("one", 1), ("same", 1), ("other", 2))
    )
    assert weights_identity(one) == weights_identity(same) != weights_identity(other)
