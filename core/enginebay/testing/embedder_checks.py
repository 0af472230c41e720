"""The rules of an embedder."""

from __future__ import annotations

import asyncio
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from enginebay.errors import (
    EngineClosedError,
    EngineOpenError,
    InvalidParameterError,
    NoMatchError,
    TruncationWarning,
    UnsupportedFeatureError,
)
from enginebay.models.embedding import Pooling
from enginebay.spec import ModelFormat
from enginebay.testing.checks import (
    LIMIT,
    Checks,
    RuleBrokenError,
    refused,
    require,
    require_light_import,
    within_limit,
)
from enginebay.testing.embedder_subject import (
    RELATED,
    SENTENCES,
    WRITINGS,
    EmbedderSubject,
    Vectors,
    cosines,
    many_texts,
    too_long,
)

EMBEDDER_CHECKS: Checks[EmbedderSubject] = Checks()
"""In the order in which they must run: the last one closes the engine."""

rule = EMBEDDER_CHECKS


@rule
def importing_the_plugin_is_light(subject: EmbedderSubject) -> None:
    """Importing a plugin imports no more than the standard library and what enginebay itself has imported."""
    require_light_import(subject.handle.spec)


@rule
def vectors_have_their_shape_and_type(subject: EmbedderSubject) -> None:
    """Documents give a float32 array with a row for each and `dimension` columns; a query gives one row of it."""
    width = subject.handle.dimension
    require(isinstance(width, int) and width > 0, f"dimension is {width!r}")
    vectors = subject.handle.embed_documents(SENTENCES)
    require(vectors.dtype == np.float32, f"the type is {vectors.dtype}")
    require(vectors.shape == (len(SENTENCES), width), f"the shape is {vectors.shape}, the dimension {width}")
    query = subject.handle.embed_query(SENTENCES[0])
    require(query.dtype == np.float32 and query.shape == (width,), f"a query gives {query.dtype} of {query.shape}")


@rule
def rows_are_in_the_order_of_the_texts(subject: EmbedderSubject) -> None:
    """Row i is the vector of text i, whatever the lengths of the texts."""
    order = list(range(len(SENTENCES)))
    random.Random(1).shuffle(order)
    vectors = subject.handle.embed_documents([SENTENCES[place] for place in order])
    subject.same(vectors, subject.alone[order], "shuffled sentences")


@rule
def a_text_embeds_the_same_in_every_company(subject: EmbedderSubject) -> None:
    """A short text has the same vector alone and in a batch with long ones: padding counts for nothing."""
    long = [text for text in many_texts(40) if len(text.split()) > 50]
    vectors = subject.handle.embed_documents([*long, *SENTENCES, *long])
    subject.same(vectors[len(long) : len(long) + len(SENTENCES)], subject.alone, "sentences among long texts")


@rule
def equal_texts_have_equal_vectors(subject: EmbedderSubject) -> None:
    """A text that occurs twice has the same vector twice."""
    vectors = subject.handle.embed_documents([SENTENCES[0], *SENTENCES, SENTENCES[0]])
    subject.same(vectors[[0, -1]], vectors[[1, 1]], "one text three times")


@rule
def embedding_is_deterministic(subject: EmbedderSubject) -> None:
    """The same call gives the same vectors again."""
    first, again = (subject.handle.embed_documents(SENTENCES) for _ in range(2))
    difference = float(np.abs(first - again).max())
    require(difference < 1e-4, f"the second call differs by {difference:.2g}")


@rule
def many_texts_come_in_many_batches(subject: EmbedderSubject) -> None:
    """More texts than a batch holds, of all lengths, each get their own vector."""
    texts = many_texts(2 * subject.handle.engine.max_batch + 9)
    vectors = subject.handle.embed_documents(texts)
    require(len(vectors) == len(texts), f"{len(vectors)} vectors for {len(texts)} texts")
    chosen = [0, 1, len(texts) // 2, len(texts) - 1]
    single = np.stack([subject.handle.embed_documents([texts[row]])[0] for row in chosen])
    subject.same(vectors[chosen], single, f"rows {chosen} of {len(texts)} texts")


@rule
def the_batch_size_does_not_matter(subject: EmbedderSubject) -> None:
    """Batches of one text give what larger ones give."""
    small = subject.open(query_prefix="", document_prefix="", batch_size=1)
    require(small.engine.max_batch == 1, f"asked for batches of 1, the engine takes {small.engine.max_batch}")
    subject.same(small.embed_documents(SENTENCES), subject.handle.embed_documents(SENTENCES), "batches of one")


@rule
def the_engine_keeps_its_word(subject: EmbedderSubject) -> None:
    """The engine itself takes `max_batch` texts, and tells tokens as it counts them."""
    engine = subject.handle.engine
    require(engine.max_batch >= 1, f"max_batch is {engine.max_batch}")
    texts = many_texts(engine.max_batch)
    embedded = engine.embed(texts)
    require(embedded.vectors.shape == (len(texts), engine.dimension), f"the shape is {embedded.vectors.shape}")
    require(embedded.vectors.dtype == np.float32, f"the type is {embedded.vectors.dtype}")
    require(embedded.truncated == (), f"rows {embedded.truncated} were cut, and that was not allowed")
    with suppress(UnsupportedFeatureError):
        counted = sum(engine.count_tokens(texts))
        require(embedded.tokens in (None, counted), f"it read {embedded.tokens} tokens, and counts {counted}")
    if engine.normalised:
        _of_length_one(embedded.vectors, "the engine says that it normalises; its vectors")


@rule
def vectors_have_length_one(subject: EmbedderSubject) -> None:
    """Vectors are finite and of Euclidean length 1, unless raw ones are asked for."""
    _of_length_one(subject.handle.embed_documents([*SENTENCES, *WRITINGS]), "documents")
    _of_length_one(subject.handle.embed_query(SENTENCES[0])[None], "a query")


@rule
def raw_vectors_have_the_same_directions(subject: EmbedderSubject) -> None:
    """`normalise=False` leaves lengths as the model gives them, and directions as they are."""
    raw = subject.open(query_prefix="", document_prefix="", normalise=False)
    vectors = raw.embed_documents(SENTENCES)
    subject.same(vectors, subject.alone, "raw vectors")
    if raw.normalise:
        _of_length_one(vectors, "the model normalises by itself; its vectors")


@rule
def no_texts_are_no_error(subject: EmbedderSubject) -> None:
    """No texts give an array of shape (0, dimension)."""
    expected = (0, subject.handle.dimension)
    for vectors in (subject.handle.embed_documents([]), asyncio.run(subject.handle.aembed_documents([]))):
        require(vectors.shape == expected and vectors.dtype == np.float32, f"{vectors.dtype} of shape {vectors.shape}")


@rule
def empty_texts_have_vectors(subject: EmbedderSubject) -> None:
    """An empty text and blank ones embed their special tokens: finite vectors, and no other row is disturbed."""
    vectors = subject.handle.embed_documents(["", *SENTENCES, "   ", "\n\t"])
    require(bool(np.isfinite(vectors).all()), "some numbers are not finite")
    subject.same(vectors[1:-2], subject.alone, "sentences among empty texts")
    subject.same(vectors[:1], subject.handle.embed_documents([""]), "an empty text")


@rule
def every_writing_is_embedded(subject: EmbedderSubject) -> None:
    """Texts in any writing, with emoji, control characters and markup are embedded, each as it is alone."""
    together = subject.handle.embed_documents(WRITINGS)
    alone = np.stack([subject.handle.embed_documents([text])[0] for text in WRITINGS])
    subject.same(together, alone, "writings")


@rule
def what_is_no_text_is_refused(subject: EmbedderSubject) -> None:
    """One bare text in place of a list, and things that are no texts, are refused by name."""
    handle: Any = subject.handle
    error = InvalidParameterError
    refused(error, lambda: handle.embed_documents("a bare text"), "a bare text", "a bare text")
    refused(error, lambda: handle.embed_documents(5), "a number for texts", "int")
    for wrong, name in ((None, "None"), (7, "7"), (b"x", "bytes"), (["x"], "list"), ("\udc80", "surrogate")):
        refused(error, lambda wrong=wrong: handle.embed_documents(["x", wrong]), f"{wrong!r}", "text 1", name)  # type: ignore[misc]
        refused(error, lambda wrong=wrong: handle.embed_query(wrong), f"the query {wrong!r}", name)  # type: ignore[misc]


@rule
def a_long_text_is_refused_by_its_place(subject: EmbedderSubject) -> None:
    """A text longer than the model reads is refused with its place among all texts; the engine goes on."""
    limit = subject.handle.context_length
    if limit is None:  # the engine does not say what it reads
        return
    place = subject.handle.engine.max_batch + 3
    texts = [*many_texts(place), "cat " * (2 * limit), "cat"]
    error = too_long(lambda: subject.handle.embed_documents(texts))
    require(error.text == place, f"it names text {error.text}, not {place}")
    require(error.context_length == limit, f"it says that {error.context_length} tokens are read, not {limit}")
    require(error.prompt_tokens is None or error.prompt_tokens > limit, f"it counts {error.prompt_tokens} tokens")
    too_long(lambda: subject.handle.embed_query("cat " * (2 * limit)))
    subject.same(subject.handle.embed_documents(SENTENCES), subject.alone, "sentences after the refusal")


@rule
def the_longest_text_is_read_whole(subject: EmbedderSubject) -> None:
    """A text of exactly as many tokens as the model reads is taken as it is, one token more is not."""
    limit = subject.handle.context_length
    if limit is None:  # the engine does not say what it reads
        return
    with suppress(UnsupportedFeatureError):
        text = subject.text_of(limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error", TruncationWarning)
            subject.handle.embed_documents([text], truncate=True)
            subject.handle.embed_documents([text])
        too_long(lambda: subject.handle.embed_documents([f"{text} cat"]))


@rule
def cutting_is_declared(subject: EmbedderSubject) -> None:
    """`truncate=True` cuts what is too long, and one warning counts the texts that were cut."""
    limit = subject.handle.context_length
    if limit is None:  # the engine does not say what it reads
        return
    long = "cat " * (2 * limit)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vectors = subject.handle.embed_documents([SENTENCES[0], long, long + "dog"], truncate=True)
    told = [str(warning.message) for warning in caught if issubclass(warning.category, TruncationWarning)]
    require(len(told) == 1, f"there are {len(told)} warnings for one call")
    require("2 of 3" in told[0] and "text 1" in told[0], f"the warning does not tell 2 of 3, from text 1 on: {told[0]}")
    subject.same(vectors[:1], subject.alone[:1], "a short text beside texts that were cut")
    subject.same(vectors[1:2], vectors[2:], "two texts that differ only beyond the cut")


@rule
def a_cut_text_embeds_its_beginning(subject: EmbedderSubject) -> None:
    """A cut text has the vector of as much of its beginning as the model reads, special tokens included."""
    limit = subject.handle.context_length
    if limit is None:  # the engine does not say what it reads
        return
    with suppress(UnsupportedFeatureError):
        text = subject.text_of(limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            cut = subject.handle.embed_documents([f"{text} and then something else"], truncate=True)
        subject.same(cut, subject.handle.embed_documents([text]), "a text cut by the engine, and one cut before")


@rule
def cutting_can_be_configured(subject: EmbedderSubject) -> None:
    """`truncate=True` in the configuration holds for every call that says nothing else."""
    limit = subject.handle.context_length
    if limit is None:  # the engine does not say what it reads
        return
    cutting = subject.open(query_prefix="", document_prefix="", truncate=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cutting.embed_query("cat " * (2 * limit))
    require(len(caught) == 1, f"there are {len(caught)} warnings for a query that was cut")
    too_long(lambda: cutting.embed_query("cat " * (2 * limit), truncate=False))


@rule
def short_texts_raise_no_warning(subject: EmbedderSubject) -> None:
    """Nothing warns where nothing was cut."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subject.handle.embed_documents(SENTENCES, truncate=True)


@rule
def queries_and_documents_are_alike_without_prefixes(subject: EmbedderSubject) -> None:
    """Without prefixes a query has the vector of the same text as a document."""
    subject.same(subject.handle.embed_query(SENTENCES[0])[None], subject.alone[:1], "a query")


@rule
def prefixes_are_put_before(subject: EmbedderSubject) -> None:
    """A prefix changes the vector into that of prefix and text together, once."""
    prefixed = subject.open(query_prefix="query: ", document_prefix="passage: ")
    written = subject.handle.embed_documents([f"{kind}: {SENTENCES[0]}" for kind in ("query", "passage")])
    subject.same(prefixed.embed_query(SENTENCES[0])[None], written[:1], "a query with its prefix")
    subject.same(prefixed.embed_documents(SENTENCES[:1]), written[1:], "a document with its prefix")
    apart = float(cosines(written[:1], subject.alone[:1])[0])
    require(apart < 1 - 1e-5, "a prefix changes nothing")


@rule
def pooling_is_as_stated(subject: EmbedderSubject) -> None:
    """A stated pooling is used, or opening is refused; a server's model is pooled by the server."""
    model = subject.handle.model
    if model.format is ModelFormat.REMOTE or model.embedding is None:
        return
    own = model.embedding.pooling
    other = Pooling.CLS if own is not Pooling.CLS else Pooling.MEAN
    try:
        pooled = subject.open(query_prefix="", document_prefix="", pooling=other).embed_documents(SENTENCES)
    except (EngineOpenError, NoMatchError):
        return
    apart = cosines(pooled, subject.alone)
    require(bool((apart < 1 - 1e-4).all()), f"pooling={other.value} gives the vectors of pooling={own}")


@rule
def tokens_are_counted_with_prefix_and_special_ones(subject: EmbedderSubject) -> None:
    """Each text's tokens are counted as a document's, or counting is refused."""
    try:
        bare = subject.handle.count_tokens(["", "cat", "cat cat cat"])
    except UnsupportedFeatureError:
        return
    require(all(isinstance(count, int) for count in bare), f"the counts are {bare}")
    require(bare[0] < bare[1] < bare[2], f"texts of 0, 1 and 3 words have {bare} tokens")
    require(subject.handle.count_tokens([]) == [], "no texts have counts")
    prefixed = subject.open(query_prefix="", document_prefix="dog dog ").count_tokens(["cat"])
    require(prefixed[0] > bare[1], f"with a prefix {prefixed[0]} tokens, without {bare[1]}")


@rule
def progress_is_told(subject: EmbedderSubject) -> None:
    """Progress rises to the number of texts, and does not go beyond."""
    told: list[tuple[int, int]] = []
    number = 2 * subject.handle.engine.max_batch + 1
    subject.handle.embed_documents(many_texts(number), progress=lambda done, whole: told.append((done, whole)))
    steps = [done for done, _ in told]
    require(len(told) > 1, f"progress was told {len(told)} times for {number} texts")
    require(steps == sorted(set(steps)) and told[-1] == (number, number), f"progress was {told}")
    require({whole for _, whole in told} == {number}, f"the whole was {told}")


@rule
def many_threads_are_served(subject: EmbedderSubject) -> None:
    """Eight threads at once each get their own vectors."""
    with ThreadPoolExecutor(8) as pool:
        for place, vectors in enumerate(
            pool.map(lambda place: subject.handle.embed_documents(_turned(place)), range(8))
        ):
            subject.same(vectors, _turned_rows(subject.alone, place), f"thread {place}")


@rule
def many_tasks_are_served(subject: EmbedderSubject) -> None:
    """Async twins give what blocking calls give, many at once, and leave the event loop free."""

    async def together() -> tuple[list[Vectors], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        calls = [subject.handle.aembed_documents(_turned(place)) for place in range(16)]
        queries = [subject.handle.aembed_query(text) for text in SENTENCES]
        vectors = await asyncio.wait_for(asyncio.gather(*calls), LIMIT)
        rows = await asyncio.wait_for(asyncio.gather(*queries), LIMIT)
        ticking.cancel()
        return [*vectors, np.stack(rows)], ticks

    found, ticks = asyncio.run(together())
    for place, vectors in enumerate(found[:-1]):
        subject.same(vectors, _turned_rows(subject.alone, place), f"task {place}")
    subject.same(found[-1], subject.alone, "queries")
    require(ticks > 0, "the event loop stood still")


@rule
def a_cancelled_task_frees_the_engine(subject: EmbedderSubject) -> None:
    """Cancelling a task ends it soon, and the engine serves the next call."""

    async def cancelled() -> Vectors:
        task = asyncio.ensure_future(subject.handle.aembed_documents(many_texts(20 * subject.handle.engine.max_batch)))
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(subject.handle.aembed_query(SENTENCES[0]), LIMIT)

    subject.same(asyncio.run(cancelled())[None], subject.alone[:1], "a query after a cancelled task")


@rule
def the_fingerprint_tells_vectors_apart(subject: EmbedderSubject) -> None:
    """The fingerprint is the same in each opening, whatever the batch, and another with other prefixes."""
    fingerprint = subject.handle.fingerprint
    require(len(fingerprint) == 16 and int(fingerprint, 16) >= 0, f"{fingerprint!r} is no digest")
    again = subject.open(query_prefix="", document_prefix="", batch_size=3, truncate=True).fingerprint
    require(again == fingerprint, f"opened again it is {again}, not {fingerprint}")
    other = subject.open(query_prefix="", document_prefix="passage: ").fingerprint
    require(other != fingerprint, "another prefix has the same fingerprint")


@rule
def meaning_is_near(subject: EmbedderSubject) -> None:
    """A sentence is nearer to one that says the same in other words than to any other."""
    scores = subject.handle.similarity(SENTENCES, RELATED)
    nearest = np.asarray(scores).argmax(axis=1).tolist()
    require(nearest == list(range(len(SENTENCES))), f"the nearest of each are {nearest}")


@rule
def similarity_is_the_cosine(subject: EmbedderSubject) -> None:
    """Similarity is symmetric, 1 of a text to itself, and the same from texts and from vectors."""
    handle = subject.handle
    itself = handle.similarity(SENTENCES[0], SENTENCES[0])
    require(abs(float(itself) - 1) < 1e-3, f"a text's similarity to itself is {itself}")
    of_texts, of_vectors = (
        np.asarray(handle.similarity(one, other)) for one, other in ((SENTENCES, RELATED), _embedded(handle))
    )
    require(bool(np.allclose(of_texts, of_vectors, atol=1e-3)), "texts and their vectors give different similarities")
    turned = np.asarray(handle.similarity(RELATED, SENTENCES)).T
    require(bool(np.allclose(of_texts, turned, atol=1e-2)), "similarity is not symmetric")


@rule
def search_finds_what_is_meant(subject: EmbedderSubject) -> None:
    """A search ranks texts or vectors by similarity, best first, as many as asked for."""
    vectors = subject.handle.embed_documents(SENTENCES)
    for place, query in enumerate(RELATED):
        found = subject.handle.search(query, vectors, limit=3)
        scores = [score for _, score in found]
        require(len(found) == 3 and scores == sorted(scores, reverse=True), f"the ranking of {query!r} is {found}")
        require(found[0][0] == place, f"{query!r} finds {SENTENCES[found[0][0]]!r}")
    require(subject.handle.search(RELATED[0], list(SENTENCES), limit=1)[0][0] == 0, "a search among texts fails")


@rule
def a_closed_engine_says_so(subject: EmbedderSubject) -> None:
    """Closing twice is no error, and a closed engine raises EngineClosedError."""
    handle, engine = subject.handle, subject.handle.engine
    with suppress(UnsupportedFeatureError):
        handle.count_tokens(["cat"])
    within_limit(engine.close, "close() hangs")
    within_limit(engine.close, "the second close() hangs")
    uses = {
        "embed_documents": lambda: handle.embed_documents(SENTENCES),
        "embed_query": lambda: handle.embed_query("cat"),
        "aembed_query": lambda: asyncio.run(handle.aembed_query("cat")),
        "embed": lambda: engine.embed(["cat"]),
    }
    for name, use in uses.items():
        refused(EngineClosedError, use, f"{name} of a closed engine")
    try:
        engine.count_tokens(["cat"])
    except (EngineClosedError, UnsupportedFeatureError):
        return
    raise RuleBrokenError("count_tokens of a closed engine was not refused")


def _of_length_one(vectors: Vectors, what: str) -> None:
    require(bool(np.isfinite(vectors).all()), f"{what} have numbers that are not finite")
    lengths = np.linalg.norm(vectors, axis=1)
    furthest = float(lengths[np.abs(lengths - 1).argmax()])
    require(abs(furthest - 1) < 1e-3, f"{what} have lengths up to {furthest:.5f} off 1")


def _turned(place: int) -> list[str]:
    """The sentences, begun at another one."""
    start = place % len(SENTENCES)
    return [*SENTENCES[start:], *SENTENCES[:start]]


def _turned_rows(rows: Vectors, place: int) -> Vectors:
    return np.roll(rows, -(place % len(SENTENCES)), axis=0)


def _embedded(handle: Any) -> tuple[Vectors, Vectors]:
    return handle.embed_documents(SENTENCES), handle.embed_documents(RELATED)
