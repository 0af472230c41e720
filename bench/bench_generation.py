"""What enginebay costs over the raw bindings, in the same run on the same model.

Two questions, each answered for both llama.cpp backends:

- decode speed: tokens/s through `handle.stream` over tokens/s of a minimal loop on the raw binding (>= 0.98);
- overhead: extra time of a call that generates one token, the raw calls and ours taking turns (<= 0.3 ms), and extra
  time of a streamed chunk (<= 20 us). A chunk's share of decoding swings by more than that, so for chunk_us the native
  library is replaced by a playback of its recorded chunks; everything else runs the real engine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from enginebay import Bay
from enginebay.generation.handle import GeneratorHandle

MODEL = "smollm2-135m-instruct"
PROMPT = "Count slowly from one to one thousand, writing each number as a word: one, two, three,"
TOKENS = 128
CALLS = 120
CHUNKS = 2000
ROUNDS = 7
LIMITS = {"decode_ratio": 0.98, "call_ms": 0.3, "chunk_us": 20.0}
GREEDY: dict[str, Any] = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def main() -> None:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures = {}
    with Bay() as bay:
        bay.pull(MODEL)
        for backend, measure in (("xllamacpp", measure_xllamacpp), ("llama_cpp", measure_llama_cpp)):
            handle = bay.generator(MODEL, backend=backend, context_length=1024, streams=1)
            figures[backend] = measure(handle)
            bay.release(handle)
    failed = False
    for backend, found in figures.items():
        for name, value in found.items():
            limit = LIMITS.get(name)
            missed = limit is not None and (value < limit if name == "decode_ratio" else value > limit)
            failed |= missed
            print(
                f"{backend:10} {name:24} {value:10.3f}"
                + (f"   limit {limit:g}{' MISSED' if missed else ''}" if limit else "")
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(failed)


def measure_xllamacpp(handle: GeneratorHandle) -> dict[str, float]:
    """Against `Server.handle_completions` with a callback that does nothing, on the engine's own server."""
    engine: Any = handle.engine
    server = vars(engine)["_server"]
    body = {"prompt": PROMPT, "stream": True, "cache_prompt": True, "repeat_penalty": 1.0, "seed": 1, **GREEDY}

    def raw(tokens: int) -> int:
        count = 0

        def receive(_: dict[str, Any]) -> bool:
            nonlocal count
            count += 1
            return False

        server.handle_completions({**body, "n_predict": tokens}, receive)
        return count - 1

    recorded: list[dict[str, Any]] = []
    server.handle_completions(
        {**body, "n_predict": 2, "verbose": True, "return_tokens": True}, lambda chunk: bool(recorded.append(chunk))
    )

    class Playback:
        """Gives recorded chunks in place of the native server."""

        def handle_completions(self, _: dict[str, Any], receive: Callable[[dict[str, Any]], bool]) -> None:
            for _index in range(CHUNKS):
                receive(recorded[0])
            receive(recorded[-1])

    return {
        **decode(handle, raw),
        **call_overhead(handle, raw),
        "chunk_us": playback(handle, engine, Playback(), lambda player: player.handle_completions({}, lambda _: False)),
    }


def measure_llama_cpp(handle: GeneratorHandle) -> dict[str, float]:
    """Against `llama_cpp.Llama`: its bare `generate` with detokenising, and `create_completion`, what people call."""
    import llama_cpp

    with contextlib.redirect_stderr(io.StringIO()):
        llama = llama_cpp.Llama(str(handle.model.path), n_ctx=1024, n_threads=2, n_batch=512, verbose=False)
    prompt = llama.tokenize(PROMPT.encode(), add_bos=False, special=True)

    def raw(tokens: int) -> int:
        count = 0
        for token in llama.generate(prompt, temp=0.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0):
            llama.detokenize([token])
            count += 1
            if count == tokens:
                break
        return count

    def completion(tokens: int) -> int:
        stream = llama.create_completion(PROMPT, max_tokens=tokens, stream=True, temperature=0.0)
        return sum(1 for _ in stream) - 1

    found = {**decode(handle, raw), **call_overhead(handle, raw)}
    found["chunk_us"] = chunk_cost(handle)
    found["decode_over_create_completion"] = decode(handle, completion)["decode_ratio"]
    llama.close()
    return found


def decode(handle: GeneratorHandle, raw: Callable[[int], int]) -> dict[str, float]:
    """Best tokens/s of each, taking turns, so that a busy machine hits both alike."""
    raw(8)
    ours(handle, 8)
    best_raw = best_ours = 0.0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        count = raw(TOKENS)
        best_raw = max(best_raw, count / (time.perf_counter() - started))
        started = time.perf_counter()
        count = ours(handle, TOKENS)
        best_ours = max(best_ours, count / (time.perf_counter() - started))
    return {"raw_tokens_s": best_raw, "our_tokens_s": best_ours, "decode_ratio": best_ours / best_raw}


def ours(handle: GeneratorHandle, tokens: int) -> int:
    """Stream through enginebay; tokens generated."""
    with handle.stream(PROMPT, temperature=0, max_tokens=tokens) as stream:
        for _ in stream:
            pass
    return stream.result.usage.completion_tokens


def call_overhead(handle: GeneratorHandle, raw: Callable[[int], int]) -> dict[str, float]:
    """Median extra milliseconds of a call that generates one token from a cached prompt, whole and streamed."""

    def whole() -> None:
        handle.complete(PROMPT, temperature=0, max_tokens=1)

    def streamed() -> None:
        ours(handle, 1)

    found = {}
    for name, call in (("call_ms", whole), ("streamed_call_ms", streamed)):
        extra = []
        for _ in range(CALLS):
            started = time.perf_counter()
            raw(1)
            between = time.perf_counter()
            call()
            extra.append((time.perf_counter() - between) - (between - started))
        found[name] = median(extra) * 1e3
    return found


def playback(handle: GeneratorHandle, engine: Any, player: Any, raw: Callable[[Any], None]) -> float:
    """Extra microseconds of a chunk, the best of a few, with the native server replaced by recorded chunks."""
    server, engine._server = engine._server, player
    best = float("inf")
    try:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            raw(player)
            between = time.perf_counter()
            for _chunk in handle.stream(PROMPT, temperature=0):
                pass
            best = min(best, ((time.perf_counter() - between) - (between - started)) / CHUNKS)
    finally:
        engine._server = server
    return best * 1e6


def chunk_cost(handle: GeneratorHandle) -> float:
    """Microseconds of a chunk above the engine's own loop: a stream of the handle over one of the engine.

    The engine's loop is the binding here (llama-cpp-python has none that gives chunks without its own cost), so what is
    replaced by a playback is the whole engine.
    """
    from enginebay import GenerationRequest, SamplingParams

    engine: Any = handle.engine
    recorded = list(engine.stream(GenerationRequest(PROMPT, SamplingParams(temperature=0, max_tokens=2))))
    chunks = [recorded[0]] * CHUNKS + [recorded[-1]]
    original, best = engine.stream, float("inf")
    engine.stream = lambda _request: iter(chunks)
    try:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for _chunk in chunks:
                pass
            between = time.perf_counter()
            for _chunk in handle.stream(PROMPT, temperature=0):
                pass
            best = min(best, ((time.perf_counter() - between) - (between - started)) / CHUNKS)
    finally:
        engine.stream = original
    return best * 1e6


if __name__ == "__main__":
    main()
