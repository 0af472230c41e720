"""The quantizer: every type on a tiny model, the usual ones on the real model, in both engines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader
from llama_cpp._ggml import libggml

from enginebay import Bay, HardwareProfile
from enginebay.errors import JobError
from enginebay.interfaces.jobs import Events, JobCancelled, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.gguf import FILE_TYPES, TENSOR_TYPES, read_gguf
from enginebay.models.headers import read_info
from enginebay.quantizing import shipped_text
from enginebay.spec import QuantizationType
from enginebay_plugins.llama_cpp.importance import WINDOW, importance_matrix
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.quantization_types import TYPES
from enginebay_plugins.llama_cpp.quantizer import LlamaCppQuantizer
from quantized_folders import run_quantizer
from tiny_gguf import CONTEXT, INNER, write_tiny

Quantise = Callable[..., Path]


@pytest.fixture
def quantise(tmp_path: Path) -> Quantise:
    """A function that quantises a model and gives the path of the result."""

    def run(model: Path, to: str, *events: Events, **more: Any) -> Path:
        return run_quantizer(LlamaCppQuantizer(), model, to, tmp_path / f"{model.stem}-{to}.gguf", *events, **more)

    return run


def test_the_core_knows_every_type_of_the_library() -> None:
    libggml.ggml_type_name.restype = ctypes.c_char_p
    libggml.ggml_type_size.restype = ctypes.c_size_t
    libggml.ggml_blck_size.restype = ctypes.c_int64
    count = llama_cpp.llama_model_quantize_default_params().output_tensor_type
    assert count > 40
    found = {
        number: (libggml.ggml_type_name(number).decode().upper(), blocks, libggml.ggml_type_size(number))
        for number in range(count)
        if (blocks := libggml.ggml_blck_size(number))
    }
    assert found == TENSOR_TYPES


def test_the_core_knows_every_file_type_of_the_library() -> None:
    """The one difference: MXFP4 of mixtures of experts is called MXFP4."""
    prefix = "LLAMA_FTYPE_"
    names = {name.removeprefix(prefix): number for name, number in vars(llama_cpp).items() if name.startswith(prefix)}
    found = {number: name.removeprefix("ALL_").removeprefix("MOSTLY_") for name, number in names.items()}
    del found[llama_cpp.LLAMA_FTYPE_GUESSED]
    assert {**found, llama_cpp.LLAMA_FTYPE_MOSTLY_MXFP4_MOE: "MXFP4"} == FILE_TYPES


@pytest.mark.model
@pytest.mark.parametrize("to", ["q8_0", "q4_k_m"])
def test_the_real_model_answers(
    to: str, smollm2_gguf_f16: Path, quantise: Quantise, this_machine: HardwareProfile
) -> None:
    events: list[JobEvent] = []
    path = quantise(smollm2_gguf_f16, to, events.append)
    source, result = read_info(smollm2_gguf_f16), read_info(path)
    assert result.quantization == to.upper()
    assert result.weight_bytes < source.weight_bytes / 1.8
    for kept in ("chat_template", "bos", "eos", "vocabulary", "context_length", "parameters"):
        assert getattr(result, kept) == getattr(source, kept)
    steps = [event.step for event in events if event.step]
    assert steps == list(range(1, len(read_gguf(path).tensors) + 1))
    assert {event.steps for event in events} == {len(steps)}
    with Bay(hardware=this_machine) as bay:
        for backend in ("llama_cpp", "xllamacpp"):
            model = bay.generator(str(path), backend=backend, context_length=256)
            assert model.complete("The capital of France is", temperature=0, max_tokens=4).text.startswith(" Paris")


@pytest.mark.model
def test_what_falls_back_is_told(smollm2_gguf_f16: Path, quantise: Quantise) -> None:
    """Rows of 576 numbers are no multiple of 256."""
    messages: list[str] = []
    path = quantise(smollm2_gguf_f16, "q4_k_s", lambda event: messages.append(event.message))
    types = {tensor.name: tensor.type for tensor in read_gguf(path).tensors}
    assert types["blk.5.ffn_down.weight"] == "Q4_K"
    assert types["blk.5.ffn_up.weight"] == "Q5_0"
    replaced = sum(kind == "Q5_0" for kind in types.values())
    assert f"{replaced} become q5_0" in messages[0]


@pytest.mark.model
def test_a_quantised_source_is_refused_unless_meant(smollm2_path: Path, quantise: Quantise) -> None:
    with pytest.raises(JobError, match="requantizing from type q4_1 is disabled"):
        quantise(smollm2_path, "q8_0")
    assert read_info(quantise(smollm2_path, "q8_0", requantize=True)).quantization == "Q8_0"


@pytest.mark.model
def test_an_output_that_cannot_be_written(smollm2_gguf_f16: Path, tmp_path: Path) -> None:
    job = QuantizationJob(model=smollm2_gguf_f16, to="q8_0", output=tmp_path / "nowhere" / "x.gguf", cache=tmp_path)
    with pytest.raises(JobError, match=r"could not write .*x\.gguf"):
        LlamaCppQuantizer().run(job, lambda event: None)


@pytest.mark.model
def test_what_a_receiver_of_events_raises_comes_through(smollm2_gguf_f16: Path, quantise: Quantise) -> None:
    told: list[JobEvent] = []

    def receive(event: JobEvent) -> None:
        told.append(event)
        raise JobCancelled

    with pytest.raises(JobCancelled):
        quantise(smollm2_gguf_f16, "q8_0", receive)
    assert len(told) == 1, "nothing more is told"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the jobs of this module: its importance matrix is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first tokens, about a thousand, of the text that enginebay brings."""
    text = tmp_path_factory.mktemp("text") / "calibration.txt"
    text.write_text(shipped_text("calibration").read_text(encoding="utf-8")[:6000], encoding="utf-8")
    return text


@pytest.mark.model
def test_an_importance_matrix_helps(
    smollm2_gguf_f16: Path, quantise: Quantise, calibration: Path, cache: Path, this_machine: HardwareProfile
) -> None:
    """On another text than the one it was made from."""
    text = shipped_text("evaluation").read_text(encoding="utf-8")[:2400]
    values = []
    for wanted in ("never", "auto"):
        options = {"importance_matrix": wanted}
        path = quantise(smollm2_gguf_f16, "q2_k", calibration=calibration, cache=cache, options=options)
        with Bay(hardware=this_machine) as bay:
            values.append(bay.generator(str(path), backend="llama_cpp", context_length=512).perplexity(text).value)
    assert values[1] < values[0]


@pytest.mark.model
def test_what_needs_a_matrix_gets_one_and_it_is_kept(
    smollm2_gguf_f16: Path, quantise: Quantise, calibration: Path, cache: Path, this_machine: HardwareProfile
) -> None:
    first: list[str] = []
    again: list[str] = []
    path = quantise(
        smollm2_gguf_f16, "iq2_xxs", lambda event: first.append(event.stage), calibration=calibration, cache=cache
    )
    quantise(smollm2_gguf_f16, "q4_0", lambda event: again.append(event.stage), calibration=calibration, cache=cache)
    assert len(list(cache.iterdir())) == 1
    assert set(again) == {"quantize"}
    types = {tensor.name: tensor.type for tensor in read_gguf(path).tensors}
    assert types["blk.5.ffn_down.weight"] == "IQ2_XXS"
    with Bay(hardware=this_machine) as bay:
        for backend in ("llama_cpp", "xllamacpp"):
            model = bay.generator(str(path), backend=backend, context_length=256)
            assert model.complete("The capital of France is", temperature=0, max_tokens=4).text.strip()


@pytest.mark.parametrize("more", [{}, {"calibration": Path(__file__), "options": {"importance_matrix": "never"}}])
def test_what_needs_a_matrix_is_refused_without(more: dict[str, Any], tmp_path: Path, quantise: Quantise) -> None:
    with pytest.raises(JobError, match="iq1_s needs an importance matrix"):
        quantise(tmp_path / "any.gguf", "iq1_s", **more)


@pytest.mark.model
def test_eight_bits_have_no_use_for_a_matrix(smollm2_gguf_f16: Path, quantise: Quantise, calibration: Path) -> None:
    stages: set[str] = set()
    quantise(smollm2_gguf_f16, "q8_0", lambda event: stages.add(event.stage), calibration=calibration)
    assert stages == {"quantize"}


@pytest.mark.model
def test_the_matrix_is_the_mean_square_of_what_meets_the_weights(
    smollm2_gguf_f16: Path, smollm2_safetensors: Path, calibration: Path, tmp_path: Path
) -> None:
    """By transformers, in the same windows."""
    job = QuantizationJob(
        model=smollm2_gguf_f16, to="q2_k", output=tmp_path / "x", cache=tmp_path, threads=2, calibration=calibration
    )
    found = importance_matrix(job, lambda event: None)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(smollm2_safetensors)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(smollm2_safetensors, dtype=torch.float32)
    tokens = tokenizer(calibration.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
    windows = tokens[: len(tokens) // WINDOW * WINDOW].reshape(-1, WINDOW)
    assert len(windows) >= 2
    watched = {
        "blk.0.attn_q.weight": model.model.layers[0].self_attn.q_proj,
        "blk.7.attn_output.weight": model.model.layers[7].self_attn.o_proj,
        "blk.29.ffn_down.weight": model.model.layers[29].mlp.down_proj,
    }
    sums: dict[str, Any] = {}
    for name, module in watched.items():
        module.register_forward_pre_hook(
            lambda _, given, name=name: sums.update({name: sums.get(name, 0) + (given[0] ** 2).sum(dim=(0, 1))})
        )
    with torch.no_grad():
        for window in windows:
            model(window[None])
    assert len(found) == 7 * 30
    for name, total in sums.items():
        assert found[name] == pytest.approx(total.numpy() / windows.numel(), rel=0.1, abs=1e-4), name
        assert found[name].sum() == pytest.approx(total.sum().item() / windows.numel(), rel=0.01)


@pytest.mark.model
def test_types_of_single_tensors(smollm2_gguf_f16: Path, quantise: Quantise) -> None:
    path = quantise(smollm2_gguf_f16, "q4_0", options={"token_embedding_type": "q5_1", "pure": True})
    assert {tensor.type for tensor in read_gguf(path).tensors} == {"F32", "Q4_0", "Q5_1"}
    with pytest.raises(JobError, match=r"token_embd\.weight has rows of 576, which the blocks of q4_k do not divide"):
        quantise(smollm2_gguf_f16, "q4_0", options={"token_embedding_type": "q4_k"})


@pytest.mark.parametrize("made", TYPES, ids=lambda made: made.name)
def test_every_type_is_made_and_loaded(
    made: QuantizationType, tiny: Path, quantise: Quantise, cache: Path, this_machine: HardwareProfile
) -> None:
    text = tiny.with_suffix(".txt")
    text.write_text("The sky is blue. " * 50, encoding="utf-8")
    path = quantise(tiny, made.name, cache=cache, calibration=text if made.calibration else None)
    info = read_info(path)
    assert info.quantization == made.name.upper()
    assert info.weight_bytes <= read_info(tiny).weight_bytes
    with Bay(hardware=this_machine) as bay:
        done = bay.generator(str(path), backend="llama_cpp", context_length=64).complete("a", max_tokens=2)
    assert done.usage.completion_tokens


def test_four_bits_are_a_third_of_sixteen_where_rows_are_whole_blocks(tiny: Path, quantise: Quantise) -> None:
    sixteen, four = (read_info(quantise(tiny, name)).weight_bytes for name in ("f16", "q4_k_m"))
    assert sixteen > 3 * four


def test_which_types_need_a_matrix(tiny: Path) -> None:
    """As the library says: one that needed none before, or needs one now, is declared otherwise."""
    refused = set()
    for made in TYPES:
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype, params.dry_run = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{made.name.upper()}"), True
        warnings: list[str] = []
        with LOG.heard_by(warnings.append):
            assert llama_cpp.llama_model_quantize(str(tiny).encode(), b"", ctypes.byref(params)) == 0
        refused |= {made.name for line in warnings if "will require an imatrix" in line}
    assert refused == {made.name for made in TYPES if made.calibration}


def test_the_matrix_of_a_mixture_of_experts(tmp_path: Path, quantise: Quantise) -> None:
    """Every token goes through every expert here, so each of them meets what the router meets."""
    experts = 3
    model = write_tiny(tmp_path / "experts.gguf", experts=experts)
    text = tmp_path / "text.txt"
    text.write_text("The sky is blue. " * 20, encoding="utf-8")
    job = QuantizationJob(model=model, to="iq2_xxs", output=tmp_path / "x", cache=tmp_path, calibration=text)
    found = importance_matrix(job, lambda event: None)
    router = found["blk.0.ffn_gate_inp.weight"]
    assert router.min() > 0
    for name in ("ffn_gate_exps", "ffn_up_exps"):
        assert found[f"blk.0.{name}.weight"] == pytest.approx(np.tile(router, experts), rel=1e-5)
    down = found["blk.0.ffn_down_exps.weight"].reshape(experts, INNER)
    assert not np.allclose(down[0], down[1]), "each expert makes its own of it"
    path = quantise(model, "iq2_xxs", calibration=text)
    types = {tensor.name: tensor.type for tensor in read_gguf(path).tensors}
    assert types["blk.0.ffn_gate_exps.weight"] == "IQ2_XXS"


def test_the_matrix_of_the_first_weights(tiny: Path, tmp_path: Path, this_machine: HardwareProfile) -> None:
    """They meet the tokens' embeddings, normed; each window begins with the begin token."""
    text = tmp_path / "text.txt"
    text.write_text("The sky is blue. " * 20, encoding="utf-8")
    job = QuantizationJob(model=tiny, to="q2_k", output=tmp_path / "x", cache=tmp_path, calibration=text)
    found = importance_matrix(job, lambda event: None)["blk.0.attn_q.weight"]
    with Bay(hardware=this_machine) as bay:
        engine = bay.generator(str(tiny), backend="llama_cpp", context_length=CONTEXT).engine
        tokens = engine.tokenize(text.read_text(encoding="utf-8"), add_bos=True)
    windows = np.array(tokens[: len(tokens) // CONTEXT * CONTEXT]).reshape(-1, CONTEXT)
    assert len(windows) > 3
    windows[:, 0] = tokens[0]
    (embeddings,) = (each.data for each in GGUFReader(tiny).tensors if each.name == "token_embd.weight")
    rows = embeddings[windows.reshape(-1)].astype(np.float64)
    normed = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + 1e-5)
    assert found == pytest.approx((normed**2).mean(axis=0), rel=1e-3)
