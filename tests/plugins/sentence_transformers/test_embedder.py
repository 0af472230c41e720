"""What a model's files say is done, on tiny random models that the library itself has saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from enginebay import Bay, HardwareProfile, Pooling
from enginebay.errors import ContextLengthError, EngineOpenError, UnsupportedFeatureError
from enginebay.models.headers import read_info
from tiny_encoders import TEXTS, make_tiny

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

BACKEND = "sentence_transformers"


@pytest.fixture
def bay(this_machine: HardwareProfile) -> Iterator[Bay]:
    with Bay(hardware=this_machine) as bay:
        yield bay


def test_what_the_library_saves_is_read(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "tiny", pooling="lasttoken", more=("Normalize",), prompts={"query": "w1 "})
    facts = read_info(folder).embedding
    assert facts is not None
    assert (facts.pooling, facts.normalise, facts.query_prefix, facts.plain) == (Pooling.LAST, True, "w1 ", True)
    assert facts.max_length == 24


@pytest.mark.parametrize("pooling", ["max", "weightedmean", ("mean", "cls")])
def test_poolings_of_its_own_are_kept(pooling: str, tmp_path: Path, bay: Bay) -> None:
    folder = make_tiny(tmp_path / "tiny", pooling=pooling)
    handle = bay.embedder(str(folder))
    assert handle.spec.name == BACKEND
    assert handle.dimension == (64 if isinstance(pooling, tuple) else 32)
    expected = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS), normalize_embeddings=True)
    assert handle.embed_documents(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_dense_step_is_run(tmp_path: Path, bay: Bay) -> None:
    folder = make_tiny(tmp_path / "tiny", more=("Dense",))
    handle = bay.embedder(str(folder))
    assert (handle.spec.name, handle.dimension) == (BACKEND, 8)
    expected = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS), normalize_embeddings=True)
    assert handle.embed_documents(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_its_own_default_prompt_is_not_put_before_texts_a_second_time(tmp_path: Path, bay: Bay) -> None:
    prompts = {"query": "w1 w2 ", "document": "w3 "}
    folder = make_tiny(tmp_path / "tiny", prompts=prompts, default_prompt="query")
    handle = bay.embedder(str(folder), backend=BACKEND)
    bare = SentenceTransformer(str(folder), device="cpu", prompts={})
    expected = bare.encode(["w1 w2 w5", "w3 w5"], prompt="", normalize_embeddings=True)
    found = np.stack([handle.embed_query("w5"), handle.embed_documents(["w5"])[0]])
    assert found == pytest.approx(expected, abs=1e-5)


def test_pooling_that_leaves_prompts_out_is_refused(tmp_path: Path, bay: Bay) -> None:
    folder = make_tiny(tmp_path / "tiny", include_prompt=False)
    with pytest.raises(EngineOpenError, match="leaves prompts out"):
        bay.embedder(str(folder), fallback=False)


def test_a_bare_encoder_needs_its_pooling_stated(tmp_path: Path, bay: Bay) -> None:
    folder = make_tiny(tmp_path / "tiny", pooling="cls")
    bare = folder.with_name("tiny-bare")
    with pytest.raises(UnsupportedFeatureError, match="state its pooling"):
        bay.embedder(str(bare), backend=BACKEND)
    stated = bay.embedder(str(bare), backend=BACKEND, pooling="cls").embed_documents(TEXTS)
    assert stated == pytest.approx(bay.embedder(str(folder), backend=BACKEND).embed_documents(TEXTS), abs=1e-5)


def test_the_limit_is_the_tokenizers(tmp_path: Path, bay: Bay) -> None:
    handle = bay.embedder(str(make_tiny(tmp_path / "tiny")), backend=BACKEND)
    assert handle.context_length == 24
    assert handle.embed_query(" ".join(["w1"] * 22)).shape == (32,)
    with pytest.raises(ContextLengthError, match="25 tokens, the embedder reads 24"):
        handle.embed_query(" ".join(["w1"] * 23))


def test_half_precision_and_attention_can_be_chosen(tmp_path: Path, bay: Bay) -> None:
    folder = str(make_tiny(tmp_path / "tiny"))
    full = bay.embedder(folder, backend=BACKEND).embed_documents(TEXTS)
    options = {"dtype": "bfloat16", "attention": "eager"}
    half = bay.embedder(folder, backend=BACKEND, options=options).embed_documents(TEXTS)
    assert 0 < np.abs(full - half).max() < 0.05


@pytest.mark.parametrize("place", ["modules.json", "config.json"])
def test_code_that_a_folder_brings_is_not_run_unasked(place: str, tmp_path: Path, bay: Bay) -> None:
    folder = make_tiny(tmp_path / "tiny")
    ran = tmp_path / "ran"
    (folder / "own_code.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Step: pass\n")
    told = json.loads((folder / place).read_text())
    if place == "modules.json":
        told.append({"idx": 2, "name": "2", "path": "", "type": "own_code.Step"})
    else:
        told |= {"model_type": "own", "auto_map": {"AutoConfig": "own_code.Step", "AutoModel": "own_code.Step"}}
    (folder / place).write_text(json.dumps(told))
    with pytest.raises(EngineOpenError, match="trust_remote_code"):
        bay.embedder(str(folder), backend=BACKEND, fallback=False)
    assert not ran.exists()
