"""The rules of generators."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from enginebay.errors import (
    ContextLengthError,
    EngineClosedError,
    InvalidParameterError,
    UnsupportedFeatureError,
)
from enginebay.generation.results import Result
from enginebay.interfaces.generator import FinishReason
from enginebay.sampling.plan import given_features
from enginebay.spec import Feature
from enginebay.testing.checks import (
    LIMIT,
    Checks,
    RuleBrokenError,
    refused,
    require,
    require_light_import,
    within_limit,
)
from enginebay.testing.generator_subject import VALUES, GeneratorSubject
from enginebay.testing.schemas import schemas

GENERATOR_CHECKS: Checks[GeneratorSubject] = Checks()
"""In the order in which they must run: the last one closes the engine."""

rule = GENERATOR_CHECKS

_SENSE = "The sun rises in the east and sets in the west. Every morning the farmer goes out to feed his animals."
_NONSENSE = " ".join(random.Random(2).sample(_SENSE.split(), len(_SENSE.split())))

EMOJI = "\U0001f600日本é\U0001f468\u200d\U0001f469\u200d\U0001f467"


@rule
def importing_the_plugin_is_light(subject: GeneratorSubject) -> None:
    """Importing a plugin imports no more than the standard library and what enginebay itself has imported."""
    require_light_import(subject.handle.spec)


@rule
def greedy_decoding_is_deterministic(subject: GeneratorSubject) -> None:
    """At temperature 0 the same request gives the same tokens."""
    first, again = (subject.greedy(subject.uncertain, 16).outputs[0] for _ in range(2))
    require(first.token_ids == again.token_ids, f"{first.text!r}, then {again.text!r}")


@rule
def a_stream_gives_what_a_whole_call_gives(subject: GeneratorSubject) -> None:
    """The chunks of a stream join to the whole text; only the last one has a finish reason."""
    whole = subject.greedy(subject.uncertain, 16)
    with subject.handle.stream(subject.uncertain, temperature=0, max_tokens=16) as stream:
        chunks = list(stream)
    text = "".join(chunk.text for chunk in chunks)
    require(text == whole.text, f"streamed {text!r}, whole {whole.text!r}")
    require(len(chunks) > 2, f"16 tokens came in {len(chunks)} chunks: nothing was streamed")
    early = [chunk for chunk in chunks[:-1] if chunk.finish_reason is not None]
    require(not early and chunks[-1].finish_reason is not None, "the finish reason is not on the last chunk alone")

    async def streamed() -> str:
        return "".join(
            [chunk.text async for chunk in subject.handle.astream(subject.uncertain, temperature=0, max_tokens=16)]
        )

    require(asyncio.run(streamed()) == whole.text, "the async stream gives another text")


@rule
def a_batch_gives_what_single_calls_give(subject: GeneratorSubject) -> None:
    """The outputs of a batch are those of single calls, in the order given."""
    prompts = ["The capital of France is", "1, 2, 3, 4,", "Monday, Tuesday,"]
    singles = [subject.tokens(subject.greedy(prompt, 3)) for prompt in prompts]
    batch = [subject.tokens(result) for result in subject.handle.complete_batch(prompts, temperature=0, max_tokens=3)]
    # Numbers differ in their last bits with the width of a batch; the surest token must not.
    require([one[0] for one in batch] == [one[0] for one in singles], f"batch {batch}, singles {singles}")


@rule
def usage_counts_tokens(subject: GeneratorSubject) -> None:
    """Usage counts the prompt's tokens and the output's."""
    result = subject.greedy(subject.uncertain, 9)
    require(result.usage.completion_tokens == 9, f"{result.usage} for 9 tokens")
    told = len(result.outputs[0].token_ids)
    require(told in (0, 9), f"{told} token ids for 9 tokens")
    try:
        counted = len(subject.handle.tokenize(subject.uncertain, add_bos=True))
    except UnsupportedFeatureError:
        require(result.usage.prompt_tokens > 0, "no prompt tokens were counted")
        return
    require(result.usage.prompt_tokens == counted, f"{result.usage} for a prompt of {counted} tokens")


@rule
def finish_reasons_are_right(subject: GeneratorSubject) -> None:
    """An answer that ends by itself ends with "stop", one that is cut with "length"."""
    answer = subject.ask()
    require(answer.finish_reason is FinishReason.STOP, f"{answer.text!r} ended with {answer.finish_reason}")
    cut = subject.ask(max_tokens=2)
    require(cut.finish_reason is FinishReason.LENGTH, f"two tokens ended with {cut.finish_reason}")
    require(answer.text.startswith(cut.text), f"{cut.text!r} is not how {answer.text!r} begins")


@rule
def max_tokens_is_exact(subject: GeneratorSubject) -> None:
    """max_tokens is the number of tokens when nothing else ends the output."""
    for count in (1, 2, 7):
        result = subject.greedy(subject.uncertain, count)
        given = len(result.outputs[0].token_ids) or result.usage.completion_tokens
        require(given == count, f"max_tokens={count} gave {given}")


@rule
def stop_strings_end_the_output(subject: GeneratorSubject) -> None:
    """A stop string ends the output and is not in it, wherever it lies across tokens."""
    whole = subject.greedy(subject.uncertain, 24).text
    for start in range(2, min(len(whole) - 3, 14), 3):
        stop = whole[start : start + 3]
        expected = whole[: whole.index(stop)]
        result = subject.greedy(subject.uncertain, 24, stop=[stop, "never in it"])
        require(result.text == expected, f"stop={stop!r} gave {result.text!r}, not {expected!r}")
        require(result.finish_reason is FinishReason.STOP, f"stop={stop!r} ended with {result.finish_reason}")


@rule
def characters_are_never_cut(subject: GeneratorSubject) -> None:
    """No chunk holds a part of a character, whatever the tokens cut."""
    sampling: dict[str, Any] = {"temperature": 0, "max_tokens": 40}
    if subject.has("choices"):
        sampling["choices"] = [EMOJI]
    with subject.handle.stream(f"{EMOJI} {EMOJI} {EMOJI} ", **sampling) as stream:
        texts = [chunk.text for chunk in stream]
    text = "".join(texts)
    if subject.has("choices"):
        require(text == EMOJI, f"{text!r} in place of {EMOJI!r}")
    require("\ufffd" not in text, f"there is a replacement character in {texts}")
    for piece in texts:
        piece.encode()


@rule
def a_full_context_ends_the_output(subject: GeneratorSubject) -> None:
    """A prompt that does not fit is refused; an output that fills the context ends with "length"."""
    length = subject.handle.context_length
    words = "word " * (2 * length)
    try:
        subject.handle.complete(words, max_tokens=1)
    except ContextLengthError:
        pass
    else:
        raise RuleBrokenError(f"a prompt of more than {2 * length} tokens was taken; the context holds {length}")
    fitting = "word " * (length - 8)
    while len(subject.handle.tokenize(fitting, add_bos=True)) > length - 4:
        fitting = fitting[:-5]
    result = subject.handle.complete(fitting, temperature=0)
    total = result.usage.prompt_tokens + result.usage.completion_tokens
    require(total <= length, f"{total} tokens in a context of {length}")
    if total == length:
        require(result.finish_reason is FinishReason.LENGTH, f"a full context ended with {result.finish_reason}")


@rule
def what_is_not_declared_is_refused(subject: GeneratorSubject) -> None:
    """A parameter or kind of constraint that the backend does not declare is refused by name, never dropped."""
    for name in VALUES:
        if not subject.has(name):
            subject.refuses(name)


@rule
def what_is_declared_is_taken(subject: GeneratorSubject) -> None:
    """Every declared parameter is taken, alone, and stands in the ledger."""
    for name, value in VALUES.items():
        if subject.has(name):
            result = subject.handle.complete(subject.uncertain, **({"max_tokens": 4} | {name: value}))
            told = {entry.parameter for entry in result.ledger}
            expected = name if name in told else "constraint"
            require(expected in told, f"{name} is not in the ledger: {sorted(told)}")


@rule
def seeds_decide_the_draw(subject: GeneratorSubject) -> None:
    """The same seed gives the same tokens, other seeds give others; without a seed, draws differ."""

    def drawn(**more: Any) -> tuple[int, ...]:
        return subject.tokens(subject.handle.complete(subject.uncertain, temperature=1.5, max_tokens=8, **more))

    if subject.has("seed"):
        require(drawn(seed=11) == drawn(seed=11), "seed 11 gave two texts")
        require(len({drawn(seed=seed) for seed in range(4)}) > 1, "four seeds gave one text")
    require(len({drawn() for _ in range(4)}) > 1, "four draws without a seed gave one text")


@rule
def n_gives_so_many_outputs(subject: GeneratorSubject) -> None:
    """`n` gives that many independent outputs."""
    result = subject.handle.complete(subject.uncertain, temperature=1.5, max_tokens=6, n=4)
    require(len(result.outputs) == 4, f"n=4 gave {len(result.outputs)}")
    require(len({output.text for output in result.outputs}) > 1, "all outputs are the same")


@rule
def temperature_scales_the_logits(subject: GeneratorSubject) -> None:
    """Draws at a temperature follow the raw distribution with its logits divided by it."""
    if not (subject.has("temperature") and subject.has("logprobs")):
        return
    _, logprobs = subject.distribution
    for temperature in (0.6, 1.0):
        drawn = subject.first_tokens(temperature=temperature)
        subject.check_draws(drawn, logprobs / temperature, f"temperature={temperature}")


@rule
def top_k_keeps_the_k_likeliest(subject: GeneratorSubject) -> None:
    """top_k draws among the k likeliest tokens only, in proportion; top_k = 1 is greedy."""
    if not subject.has("top_k"):
        return
    greedy = subject.tokens(subject.greedy(subject.uncertain, 4))
    one = subject.tokens(subject.handle.complete(subject.uncertain, top_k=1, temperature=1.0, max_tokens=4))
    require(one == greedy, f"top_k=1 gave {one}, greedy {greedy}")
    if subject.has("logprobs"):
        tokens, logprobs = subject.distribution
        k = subject.edge(2, 10) + 1
        drawn = subject.first_tokens(top_k=k, temperature=1.0)
        outside = set(drawn) - set(tokens[:k].tolist())
        require(not outside, f"top_k={k} drew {sorted(outside)}")
        subject.check_draws(drawn, np.where(np.arange(len(logprobs)) < k, logprobs, -np.inf), f"top_k={k}")


@rule
def top_p_keeps_the_smallest_set_that_reaches_p(subject: GeneratorSubject) -> None:
    """top_p draws from the smallest set of likeliest tokens whose probability reaches it, in proportion."""
    if not (subject.has("top_p") and subject.has("logprobs")):
        return
    tokens, logprobs = subject.distribution
    mass = np.cumsum(np.exp(logprobs))
    # Half-way between two sums, so that rounding does not move the edge.
    edge = subject.edge(2, 5)
    p = float((mass[edge - 1] + mass[edge]) / 2)
    drawn = subject.first_tokens(top_p=p, temperature=1.0)
    outside = set(drawn) - set(tokens[: edge + 1].tolist())
    require(not outside, f"top_p={p:.3f} drew {sorted(outside)}, which lie outside")
    subject.check_draws(drawn, np.where(np.arange(len(logprobs)) <= edge, logprobs, -np.inf), f"top_p={p:.3f}")


@rule
def min_p_keeps_what_is_near_the_best(subject: GeneratorSubject) -> None:
    """min_p draws only tokens with at least that share of the likeliest one's probability, in proportion."""
    if not (subject.has("min_p") and subject.has("logprobs")):
        return
    tokens, logprobs = subject.distribution
    edge = subject.edge(2, 10)
    share = float(np.exp((logprobs[edge] + logprobs[edge + 1]) / 2 - logprobs[0]))
    drawn = subject.first_tokens(min_p=share, temperature=1.0)
    outside = set(drawn) - set(tokens[: edge + 1].tolist())
    require(not outside, f"min_p={share:.3f} drew {sorted(outside)}, which lie below")
    subject.check_draws(drawn, np.where(np.arange(len(logprobs)) <= edge, logprobs, -np.inf), f"min_p={share:.3f}")


@rule
def repetition_penalty_counts_prompt_and_output(subject: GeneratorSubject) -> None:
    """A strong repetition penalty keeps away from every token of the prompt and of the output."""
    if not subject.has("repetition_penalty"):
        return
    prompt = set(subject.handle.tokenize(subject.repetitive, add_bos=True))
    plain = subject.tokens(subject.greedy(subject.repetitive, 1))[0]
    require(plain in prompt, "the repetitive text is not continued with a token of its own: give the kit another")
    output = subject.tokens(subject.greedy(subject.repetitive, 10, repetition_penalty=50.0))
    require(output[0] not in prompt, "the prompt's tokens were not penalised")
    require(len(set(output)) == len(output), f"the output's tokens were not penalised: {output}")


STRENGTH = 2.0
"""The strongest penalty that OpenAI's API, and what follows it, takes."""


def _counts_the_output_only(subject: GeneratorSubject, name: str, penalty: Callable[[int], float]) -> None:
    """Check each greedy step: the token is the best one after the penalty for its occurrences in the output so far."""
    if not subject.has(name):
        return
    plain = subject.tokens(subject.greedy(subject.repetitive, 16))
    require(len(set(plain)) < len(plain), "the repetitive text is not continued with repetitions: give another")
    more = {"logprobs": 20} if subject.has("logprobs") else {}
    result = subject.greedy(subject.repetitive, 16, **{name: STRENGTH}, **more)
    tokens = subject.tokens(result)
    require(tokens[0] == plain[0], f"{name} counted the prompt: the first token became another")
    require(tokens != plain, f"{name}={STRENGTH} changed nothing")
    counts: Counter[int] = Counter()
    for place, entry in enumerate(result.outputs[0].logprobs):
        scores = {token: logprob - penalty(counts[token]) for token, _, logprob in entry.top}
        best = max(scores.values())
        own = entry.logprob - penalty(counts[entry.token_id])
        require(own > best - 0.1, f"{name}: token {entry.token_id} at place {place} has {own:.2f}, the best {best:.2f}")
        counts[entry.token_id] += 1


@rule
def presence_penalty_counts_the_output_only(subject: GeneratorSubject) -> None:
    """A presence penalty is subtracted once for a token of the output, and not for one of the prompt."""
    _counts_the_output_only(subject, "presence_penalty", lambda count: STRENGTH * (count > 0))


@rule
def frequency_penalty_counts_the_output_only(subject: GeneratorSubject) -> None:
    """A frequency penalty is subtracted for each occurrence in the output, and not for one in the prompt."""
    _counts_the_output_only(subject, "frequency_penalty", lambda count: STRENGTH * count)


@rule
def logit_bias_bans_and_forces(subject: GeneratorSubject) -> None:
    """A bias of -100 bans a token, one of +100 forces it; an unknown token is refused."""
    if not subject.has("logit_bias"):
        return
    best = subject.tokens(subject.greedy(subject.uncertain, 1))[0]
    banned = subject.tokens(subject.greedy(subject.uncertain, 1, logit_bias={best: -100.0}))[0]
    require(banned != best, "a token with a bias of -100 was drawn")
    forced = subject.handle.tokenize(" zebra")[-1]
    drawn = subject.tokens(subject.greedy(subject.uncertain, 3, logit_bias={forced: 100.0}))
    require(set(drawn) == {forced}, f"a bias of +100 on {forced} gave {drawn}")


@rule
def logprobs_are_of_the_raw_distribution(subject: GeneratorSubject) -> None:
    """Log-probabilities are those of the raw logits: no parameter changes them."""
    if not subject.has("logprobs"):
        return
    output = subject.greedy(subject.uncertain, 4, logprobs=5).outputs[0]
    require([entry.token_id for entry in output.logprobs] == list(output.token_ids), "not one entry for each token")
    for entry in output.logprobs:
        values = [one[2] for one in entry.top]
        require(len(values) == 5 and values == sorted(values, reverse=True), f"top is not the five best: {entry.top}")
        require(entry.top[0][0] == entry.token_id, "the greedy token is not the best one")
        require(abs(entry.logprob - values[0]) < 1e-3, "the token's own log-probability is another than in top")
        require(sum(map(float, np.exp(values))) <= 1.001, "probabilities sum to more than 1")
    changes: dict[str, Any] = {"temperature": 2.0, "top_k": 3, "logprobs": 5, "max_tokens": 1}
    changed = {name: value for name, value in changes.items() if subject.has(name)}
    [entry] = subject.handle.complete(subject.uncertain, **changed).outputs[0].logprobs
    first = output.logprobs[0].top
    # Reading a prompt in another way (cached, batched) moves the last bits.
    require(
        abs(entry.top[0][2] - first[0][2]) < 0.05 and entry.top[0][0] == first[0][0],
        f"with {changed} the best token's log-probability is {entry.top[0]}, was {first[0]}",
    )
    none = subject.greedy(subject.uncertain, 1, logprobs=0).outputs[0].logprobs[0]
    require(none.top == (), "logprobs=0 gave other tokens than the chosen one")


@rule
def given_texts_are_scored(subject: GeneratorSubject) -> None:
    """Scores of a given text are the log-probabilities that it was generated with, and add up."""
    handle = subject.handle
    if Feature.SCORING not in given_features(handle.spec):
        refused(UnsupportedFeatureError, lambda: handle.perplexity("a text"), "a perplexity", handle.spec.name)
        refused(UnsupportedFeatureError, lambda: handle.log_likelihood("a text"), "a log-likelihood", handle.spec.name)
        return
    prompt = subject.uncertain
    ids = handle.tokenize(prompt, add_bos=True)
    result = subject.greedy(prompt, 6)
    tokens = [token for token in subject.tokens(result) if token >= 0]
    scores = handle.score([*ids, *tokens])
    require(scores.logprobs.shape == scores.greedy.shape == (len(ids) + len(tokens) - 1,), "a score is missing")
    require(bool(scores.greedy[len(ids) - 1]), "the first token of the greedy output is not told as the likeliest")
    require(bool((scores.logprobs <= 1e-6).all()), f"a log-probability is {scores.logprobs.max():.3f}")
    if subject.has("logprobs"):
        [output] = subject.greedy(prompt, 1, logprobs=1).outputs
        told, scored = output.logprobs[0].logprob, float(scores.logprobs[len(ids) - 1])
        require(abs(told - scored) < 0.1, f"the first token has the logprob {told:.3f}, its score is {scored:.3f}")
    whole, first = (handle.log_likelihood(text, after=prompt) for text in (" to eat and to sleep", " to eat"))
    second = handle.log_likelihood(" and to sleep", after=prompt + " to eat")
    difference = abs(whole.total - first.total - second.total)
    require(
        whole.tokens == first.tokens + second.tokens, f"{whole.tokens} tokens, not {first.tokens} + {second.tokens}"
    )
    require(difference < 0.3, f"the parts of a text differ from the whole by {difference:.3f} nats")
    sense, nonsense = (handle.perplexity(text, window=64).value for text in (_SENSE, _NONSENSE))
    require(1 < sense < nonsense, f"perplexity {sense:.1f} of a text, {nonsense:.1f} of its words at random")


@rule
def choices_regex_and_grammar_hold(subject: GeneratorSubject) -> None:
    """An output under a constraint matches it as a whole, greedy or drawn."""
    cases = {
        "choices": (["Paris", "Rome", "New York"], "Paris|Rome|New York"),
        "regex": (r"[0-9]{3}-[A-F]{2}", r"[0-9]{3}-[A-F]{2}"),
        "grammar": ('root ::= "(" [a-z]{3} ("," [a-z]{3}){0,2} ")"', r"\([a-z]{3}(,[a-z]{3}){0,2}\)"),
    }
    for kind, (value, pattern) in cases.items():
        if not subject.has(kind):
            continue
        for temperature in (0.0, 1.5):
            result = subject.ask(temperature=temperature, **{kind: value})
            matches = re.fullmatch(pattern, result.text) is not None
            require(matches, f"{kind}={value!r} gave {result.text!r}")
            require(result.finish_reason is FinishReason.STOP, f"{kind} ended with {result.finish_reason}")


@rule
def json_schemas_hold(subject: GeneratorSubject) -> None:
    """Every output under a JSON schema is valid JSON under it."""
    if not subject.has("json_schema"):
        return
    from jsonschema import ValidationError, validate

    def problem(schema: dict[str, Any]) -> str:
        result = subject.ask(json_schema=schema, max_tokens=160)
        try:
            validate(json.loads(result.text), schema)
        except (ValueError, ValidationError) as error:
            return f"{json.dumps(schema)} gave {result.text!r} ({result.finish_reason}): {str(error).splitlines()[0]}"
        return ""

    with ThreadPoolExecutor(max(1, min(8, subject.handle.engine.max_concurrency))) as pool:
        problems = [told for told in pool.map(problem, schemas(subject.schemas)) if told]
    require(not problems, f"{len(problems)} of {subject.schemas} failed; the first: {problems[:1]}")


@rule
def senseless_constraints_are_refused(subject: GeneratorSubject) -> None:
    """A constraint that cannot be parsed is refused before anything is generated."""
    for kind, value in {
        "regex": "(",
        "grammar": "root ::= undefined-rule",
        "json_schema": {"type": "nonsense"},
    }.items():
        if not subject.has(kind):
            continue
        try:
            result = subject.handle.complete("A", max_tokens=4, **{kind: value})
        except InvalidParameterError:
            continue
        raise RuleBrokenError(f"{kind}={value!r} was taken and gave {result.text!r}")


@rule
def cancelling_frees_the_slot(subject: GeneratorSubject) -> None:
    """Closing a stream, or cancelling its task, stops the engine and frees its slot."""
    handle = subject.handle
    for _ in range(handle.engine.max_concurrency + 2):
        with handle.stream(subject.uncertain, temperature=0) as stream:
            next(iter(stream))

    async def cancelled() -> None:
        for _ in range(handle.engine.max_concurrency + 2):
            task = asyncio.ensure_future(handle.acomplete(subject.uncertain, temperature=0))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(handle.acomplete(subject.uncertain, max_tokens=2), LIMIT)

    asyncio.run(cancelled())
    within_limit(lambda: subject.greedy(subject.uncertain, 2), "a call after cancelled ones hangs")


@rule
def many_callers_are_served(subject: GeneratorSubject) -> None:
    """Eight threads and 64 tasks at once all get their own right answers."""
    expected = subject.ask(max_tokens=6).text

    def check(result: Result) -> None:
        # Numbers differ in their last bits with the width of a batch; a sure answer must not.
        require(result.text == expected, f"one of many callers got {result.text!r}, a lone one {expected!r}")

    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: subject.ask(max_tokens=6), range(8)):
            check(result)
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": subject.question},
    ]

    async def together() -> list[Result]:
        calls = [subject.handle.achat(messages, temperature=0, max_tokens=6) for _ in range(64)]
        return await asyncio.wait_for(asyncio.gather(*calls), 2 * LIMIT)

    for result in asyncio.run(together()):
        check(result)


@rule
def a_closed_engine_says_so(subject: GeneratorSubject) -> None:
    """Closing twice is no error, closing stops what runs, and a closed engine raises EngineClosedError."""
    engine = subject.handle.engine
    stream = subject.handle.stream(subject.uncertain, temperature=0)
    next(iter(stream))
    within_limit(engine.close, "close() hangs while a stream is open")
    within_limit(engine.close, "the second close() hangs")
    try:
        for _ in stream:
            pass
    except EngineClosedError:
        pass
    for use in (lambda: subject.greedy("A", 1), lambda: subject.handle.tokenize("A")):
        try:
            use()
        except EngineClosedError:
            continue
        raise RuleBrokenError("a closed engine was used without EngineClosedError")
