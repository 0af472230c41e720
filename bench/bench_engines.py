"""Throughput through enginebay over that of each raw library, on the same model in the same run, taking turns.

For each engine: one stream, and eight prompts decoded together, greedy, as ratio of best tokens/s (>= 0.98). The raw
side is what the library's own documentation shows: `model.generate`, `Generator.generate_batch`, the server's
completions, and for eight prompts one padded batch, one batch, eight threads.

Then the cost of a constraint on the transformers engine: how much longer a token takes to be drawn and counted in while
the JSON schema of a person is obeyed than without one: greedy and drawn at temperature 0.7 (<= 0.2 ms); and without a
limit, because nearly all of it is llguidance's own, for strings of bounded length.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from enginebay import Bay
from enginebay.generation.handle import GeneratorHandle

MODEL = "smollm2-135m-instruct"
# All of one length, so that padding has no part in it.
PROMPTS = [f"Count slowly from {number} to one thousand, writing each number as a word:" for number in range(2, 10)]
TOKENS = 64
ROUNDS = 5
RATIO = 0.98
LIMITS = {"mask_ms": 0.2, "mask_drawn_ms": 0.2}
"""Milliseconds."""

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "job": {"enum": ["doctor", "teacher", "farmer", "pilot"]},
        "languages": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "active": {"type": "boolean"},
    },
    "required": ["name", "age", "job", "languages", "active"],
    "additionalProperties": False,
}
COUNTED = {
    "type": "object",
    "properties": {name: {"type": "string", "maxLength": 20} for name in ("name", "city", "street", "note")},
    "required": ["name", "city", "street", "note"],
    "additionalProperties": False,
}
"""Near the end of a string of bounded length llguidance looks at every token: the dearest common case."""

Raw = Callable[[list[str]], int]
"""Generates `TOKENS` tokens for each prompt, and tells how many came in all."""


def main() -> None:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=["transformers", "ctranslate2", "xllamacpp"])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    raws = {"transformers": raw_transformers, "ctranslate2": raw_ctranslate2, "xllamacpp": raw_xllamacpp}
    raws |= {"vllm": raw_vllm}
    figures: dict[str, dict[str, float]] = {}
    with Bay() as bay:
        bay.pull(MODEL)
        for backend in arguments.engines:
            options = {"enforce_eager": True} if backend == "vllm" else {}
            handle = bay.generator(MODEL, backend=backend, context_length=512, streams=8, options=options)
            raw = raws[backend](handle)
            figures[backend] = {
                f"{name}_{what}": value
                for name, prompts in (("one", PROMPTS[:1]), ("eight", PROMPTS))
                for what, value in compare(handle, raw, prompts).items()
            }
            if backend == "transformers":
                figures[backend]["mask_ms"] = mask_cost(handle, PERSON, temperature=0)
                figures[backend]["mask_drawn_ms"] = mask_cost(handle, PERSON, temperature=0.7)
                figures[backend]["mask_counted_ms"] = mask_cost(handle, COUNTED, temperature=0.7)
            bay.release(handle)
    missed = False
    for backend, found in figures.items():
        for name, value in found.items():
            limit = LIMITS.get(name, RATIO if name.endswith("ratio") else None)
            bad = limit is not None and (value > limit if name in LIMITS else value < limit)
            missed |= bad
            told = f"   limit {limit:g}{' MISSED' if bad else ''}" if limit is not None else ""
            print(f"{backend:13} {name:18} {value:9.3f}{told}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(missed)


def compare(handle: GeneratorHandle, raw: Raw, prompts: list[str]) -> dict[str, float]:
    """Best tokens/s of each side, taking turns, so that a busy machine hits both alike."""
    best_raw = best_ours = 0.0
    raw(prompts)
    ours(handle, prompts)
    for _ in range(ROUNDS):
        best_raw = max(best_raw, speed(lambda: raw(prompts)))
        best_ours = max(best_ours, speed(lambda: ours(handle, prompts)))
    return {"raw_tokens_s": best_raw, "our_tokens_s": best_ours, "ratio": best_ours / best_raw}


def speed(run: Callable[[], int]) -> float:
    """Tokens/s of one run."""
    started = time.perf_counter()
    count = run()
    return count / (time.perf_counter() - started)


def ours(handle: GeneratorHandle, prompts: list[str]) -> int:
    """Generate through enginebay."""
    results = handle.complete_batch(prompts, temperature=0, max_tokens=TOKENS)
    return sum(result.usage.completion_tokens for result in results)


def raw_transformers(handle: GeneratorHandle) -> Raw:
    """`model.generate` on a padded batch, with the tokenizer of the same folder, on the engine's own model."""
    from transformers import AutoTokenizer, GenerationConfig

    engine: Any = handle.engine
    model = vars(engine)["_model"]
    tokenizer = AutoTokenizer.from_pretrained(handle.opened.model.path, padding_side="left")
    config = GenerationConfig(do_sample=False, max_new_tokens=TOKENS, pad_token_id=2, eos_token_id=2)

    def run(prompts: list[str]) -> int:
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        made = model.generate(**batch, generation_config=config)[:, batch["input_ids"].shape[1] :]
        tokenizer.batch_decode(made, skip_special_tokens=True)
        # An output that ends early is padded; what follows its end is no token.
        ended = (made == config.eos_token_id).int()
        return int((ended.cumsum(dim=1) - ended == 0).sum())

    return run


def raw_ctranslate2(handle: GeneratorHandle) -> Raw:
    """`Generator.generate_batch`, on the engine's own generator."""
    engine: Any = handle.engine
    generator, tokenizer = vars(engine)["_generator"], vars(engine)["_tokenizer"].raw

    def run(prompts: list[str]) -> int:
        tokens = [tokenizer.encode(prompt, add_special_tokens=False).tokens for prompt in prompts]
        results = generator.generate_batch(tokens, max_length=TOKENS, sampling_topk=1, include_prompt_in_result=False)
        for result in results:
            tokenizer.decode(result.sequences_ids[0])
        return sum(len(result.sequences_ids[0]) for result in results)

    return run


def raw_xllamacpp(handle: GeneratorHandle) -> Raw:
    """`Server.handle_completions` with a callback that does nothing, a thread for each prompt."""
    engine: Any = handle.engine
    server = vars(engine)["_server"]
    body = {"stream": True, "temperature": 0.0, "top_k": 1, "n_predict": TOKENS, "repeat_penalty": 1.0}

    def one(prompt: str) -> int:
        count = 0

        def receive(_: dict[str, Any]) -> bool:
            nonlocal count
            count += 1
            return False

        server.handle_completions({**body, "prompt": prompt}, receive)
        return count - 1

    def run(prompts: list[str]) -> int:
        with ThreadPoolExecutor(len(prompts)) as pool:
            return sum(pool.map(one, prompts))

    return run


def raw_vllm(handle: GeneratorHandle) -> Raw:
    """`AsyncLLM.generate`, all prompts as tasks, on the engine's own AsyncLLM and loop."""
    import asyncio
    from uuid import uuid4

    from vllm.sampling_params import RequestOutputKind, SamplingParams

    engine: Any = handle.engine
    llm = vars(engine)["_engine"]
    params = SamplingParams(temperature=0, max_tokens=TOKENS, output_kind=RequestOutputKind.DELTA)

    async def one(prompt: str) -> int:
        count = 0
        async for answer in llm.generate(prompt, params, uuid4().hex):
            count += len(answer.outputs[0].token_ids)
        return count

    async def together(prompts: list[str]) -> int:
        return sum(await asyncio.gather(*map(one, prompts)))

    def run(prompts: list[str]) -> int:
        result: int = engine.on_loop(together(prompts))
        return result

    return run


def mask_cost(handle: GeneratorHandle, schema: dict[str, Any], temperature: float) -> float:
    """Milliseconds that obeying a JSON schema adds to the drawing of a token."""
    free = {"temperature": temperature, "max_tokens": TOKENS, "seed": 7}
    bound = {**free, "json_schema": schema}
    drawing_seconds(handle, bound)  # the tokenizer's tables are made once
    with_it, without = (min(drawing_seconds(handle, sampling) for _ in range(3)) for sampling in (bound, free))
    return (with_it - without) * 1e3


def drawing_seconds(handle: GeneratorHandle, sampling: dict[str, Any]) -> float:
    """Seconds a token spends in being drawn and counted in."""
    from enginebay_plugins.transformers.drawing import Drawing

    spent, tokens = 0.0, 0
    draw, accept = Drawing.draw, Drawing.accept

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal spent
            started = time.perf_counter()
            result = function(*arguments, **named)
            spent += time.perf_counter() - started
            return result

        return call

    Drawing.draw, Drawing.accept = timed(draw), timed(accept)  # type: ignore[method-assign]
    try:
        for _ in range(2):
            tokens += handle.complete("A person: ", **sampling).usage.completion_tokens
    finally:
        Drawing.draw, Drawing.accept = draw, accept  # type: ignore[method-assign]
    return spent / tokens


if __name__ == "__main__":
    main()
