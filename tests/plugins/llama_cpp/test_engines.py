"""Both llama.cpp engines: streams, limits, cancellation, errors, adapters."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enginebay import Chunk, FinishReason, GenerationRequest, Generator, SamplingParams
from enginebay.errors import ContextLengthError, EnginebayError, EngineClosedError, EngineOpenError
from enginebay.interfaces._threads import close_iterator
from enginebay_plugins.llama_cpp.options import LlamaCppOptions, LoraAdapter, XllamacppOptions

pytestmark = pytest.mark.model

CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
STORY = "Once upon a time, there was a little fox who"
EMOJI = "Repeat: 😀🎉👩‍🚀 😀🎉👩‍🚀 😀🎉"


def greedy(prompt: str, max_tokens: int | None = 24) -> GenerationRequest:
    return GenerationRequest(prompt, SamplingParams(temperature=0, max_tokens=max_tokens))


def test_a_true_answer(engine: Generator) -> None:
    completion = engine.generate(greedy(CHAT))
    assert completion.text == "The capital of France is Paris."
    assert completion.finish_reason is FinishReason.STOP
    assert completion.usage.prompt_tokens == len(engine.tokenize(CHAT)) == 16
    assert completion.usage.completion_tokens == 8, "seven words and the end token"


def test_the_stream_is_the_whole_in_pieces(engine: Generator) -> None:
    chunks = list(engine.stream(greedy(CHAT)))
    assert "".join(chunk.text for chunk in chunks) == "The capital of France is Paris."
    assert len(chunks) == 9
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * 8
    assert chunks[-1].usage is not None


def test_characters_spread_over_tokens_come_whole(engine: Generator) -> None:
    chunks = list(engine.stream(greedy(EMOJI, 12)))
    assert all("\ufffd" not in chunk.text for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks).startswith("👩\u200d🚀")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


def test_special_tokens_in_a_prompt_are_parsed(engine: Generator) -> None:
    assert engine.tokenize("<|im_end|>") == [2]
    assert engine.tokenize("") == []


def test_a_prompt_that_begins_alike_is_not_read_again(engine: Generator) -> None:
    prompt = STORY + " lived in the wood."
    engine.generate(greedy(prompt, 2))
    again = engine.generate(greedy(prompt, 2))
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


def test_the_cache_does_not_change_the_answer(engine: Generator) -> None:
    first = engine.generate(greedy(CHAT)).text
    engine.generate(greedy("Something else entirely", 5))
    engine.generate(greedy(CHAT + "The capital", 5))
    assert engine.generate(greedy(CHAT)).text == first


def test_a_prompt_over_the_context(engine: Generator) -> None:
    with pytest.raises(ContextLengthError) as caught:
        engine.generate(greedy("x " * 3000))
    assert caught.value.prompt_tokens is not None
    assert caught.value.prompt_tokens >= 3000
    assert caught.value.context_length == engine.context_length == 1024
    assert engine.generate(greedy(CHAT)).text == "The capital of France is Paris."


def test_a_full_context_ends_the_output(open_backend: Any, backend: str) -> None:
    engine = open_backend(backend, context_length=256, streams=1)
    params = SamplingParams(temperature=0, logit_bias={2: -100.0, 0: -100.0})
    completion = engine.generate(GenerationRequest(STORY, params))
    assert completion.finish_reason is FinishReason.LENGTH
    assert 0 <= 256 - completion.usage.prompt_tokens - completion.usage.completion_tokens <= 2
    engine.close()


def test_an_empty_prompt_is_a_clear_error(engine: Generator) -> None:
    with pytest.raises(EnginebayError, match="prompt"):
        engine.generate(greedy("", 2))


def test_closing_a_stream_frees_its_slot(engine: Generator) -> None:
    for _ in range(6):
        stream = engine.stream(greedy(STORY, 900))
        next(stream)
        next(stream)
        started = time.monotonic()
        close_iterator(stream)
        assert time.monotonic() - started < 5, "closing waited for more than the next token"
    assert engine.generate(greedy(CHAT)).text == "The capital of France is Paris."


def test_many_streams_at_once_agree_with_one_alone(engines: dict[str, Generator]) -> None:
    engine = engines["xllamacpp"]
    alone = engine.generate(greedy(CHAT)).text
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: engine.generate(greedy(CHAT)).text, range(8)))
    assert together == [alone] * 8


def test_streams_of_one_server_are_decoded_together(engines: dict[str, Generator]) -> None:
    """Both streams are under way at once: the second gives a chunk while the first is open."""
    engine = engines["xllamacpp"]
    first, second = engine.stream(greedy(STORY, 200)), engine.stream(greedy(CHAT))
    assert next(first).text
    assert next(second).text
    close_iterator(first)
    close_iterator(second)


def test_closing_twice_and_use_after_close(open_backend: Any, backend: str) -> None:
    engine = open_backend(backend, context_length=256)
    engine.close()
    engine.close()
    for use in (lambda: engine.generate(greedy(CHAT)), lambda: engine.tokenize("x")):
        with pytest.raises(EngineClosedError):
            use()


def test_opening_and_closing_again_and_again(open_backend: Any, backend: str) -> None:
    """A server that has not begun to run misses its stop, and closing would never return."""
    for _ in range(25):
        open_backend(backend, context_length=256, streams=2).close()


def test_closing_while_a_stream_is_open(open_backend: Any, backend: str) -> None:
    engine = open_backend(backend)
    stream = engine.stream(greedy(STORY, 900))
    next(stream)
    engine.close()
    with pytest.raises(EnginebayError):
        for _ in stream:
            pass


def test_closing_from_another_thread_while_generating(open_backend: Any, backend: str) -> None:
    engine = open_backend(backend)
    begun = threading.Event()
    got: list[Chunk | BaseException] = []

    def work() -> None:
        try:
            for chunk in engine.stream(greedy(STORY, 900)):
                got.append(chunk)
                begun.set()
        except EnginebayError as error:
            got.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    engine.close()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(got[-1], EnginebayError)


def test_two_engines_at_once(open_backend: Any, engine: Generator, backend: str) -> None:
    other = open_backend(backend, context_length=512)
    assert other.generate(greedy(CHAT)).text == engine.generate(greedy(CHAT)).text
    other.close()
    assert engine.generate(greedy(CHAT)).text == "The capital of France is Paris."


def test_options_are_used(open_backend: Any, backend: str) -> None:
    kind = XllamacppOptions if backend == "xllamacpp" else LlamaCppOptions
    options = kind(threads=1, batch_size=8, cache_type_k="q8_0", flash_attention="on", mmap=False)
    engine = open_backend(backend, context_length=256, options=options)
    assert engine.generate(greedy(CHAT)).text.startswith("The capital of France is Paris")
    engine.close()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real LoRA adapter of rank 4 on one layer's query projection, with random weights."""
    import gguf
    import numpy as np

    path = tmp_path_factory.mktemp("lora") / "adapter.gguf"
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for layer in (10, 20):
        name = f"blk.{layer}.ffn_down.weight"
        writer.add_tensor(f"{name}.lora_a", rng.normal(0, 0.5, (4, 1536)).astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", rng.normal(0, 0.5, (576, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_adapter_changes_the_output_and_scale_0_does_not(
    open_backend: Any, engine: Generator, backend: str, adapter: Path
) -> None:
    kind = XllamacppOptions if backend == "xllamacpp" else LlamaCppOptions
    answers = {}
    for scale in (0.0, 1.0):
        options = kind(lora=(LoraAdapter(path=adapter, scale=scale),))
        adapted = open_backend(backend, context_length=256, options=options)
        answers[scale] = adapted.generate(greedy(CHAT)).text
        adapted.close()
    assert answers[0.0] == engine.generate(greedy(CHAT)).text
    assert answers[1.0] != answers[0.0]


@pytest.mark.parametrize("damage", ["missing", "truncated", "text"])
def test_a_broken_file_is_a_clear_error(
    open_backend: Any, backend: str, damage: str, smollm2_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "broken.gguf"
    if damage == "truncated":
        path.write_bytes(smollm2_path.read_bytes()[:1_000_000])
    elif damage == "text":
        path.write_text("not a model" * 100)
    with pytest.raises(EngineOpenError, match=r"broken\.gguf"):
        open_backend(backend, path=path)


def test_a_broken_adapter_is_a_clear_error(open_backend: Any, backend: str, tmp_path: Path, smollm2_path: Path) -> None:
    kind = XllamacppOptions if backend == "xllamacpp" else LlamaCppOptions
    text = tmp_path / "adapter.gguf"
    text.write_text("no adapter")
    for path in (tmp_path / "missing.gguf", text, smollm2_path):
        with pytest.raises(EngineOpenError):
            open_backend(backend, context_length=256, options=kind(lora=(LoraAdapter(path=path),)))
