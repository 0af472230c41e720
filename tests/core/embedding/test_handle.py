"""The friendly side of an embedder, on a fake engine."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from enginebay import Concurrency
from enginebay.embedding.handle import EmbedderHandle
from enginebay.errors import (
    ContextLengthError,
    EmbeddingError,
    EngineClosedError,
    InvalidParameterError,
    TruncationWarning,
)
from enginebay.hookspecs import RequestEvent
from fake_embedder import FakeEmbedder, fake_embedder_handle, fake_embedder_spec

Embed = Callable[..., NDArray[np.float32]]

LONG = "a" * 20


def embed_blocking(handle: EmbedderHandle, texts: Any, **given: Any) -> NDArray[np.float32]:
    return handle.embed_documents(texts, **given)


def embed_async(handle: EmbedderHandle, texts: Any, **given: Any) -> NDArray[np.float32]:
    return asyncio.run(handle.aembed_documents(texts, **given))


@pytest.fixture(params=[embed_blocking, embed_async], ids=["blocking", "async"])
def embed(request: pytest.FixtureRequest) -> Embed:
    chosen: Embed = request.param
    return chosen


def test_rows_are_in_the_order_given_and_of_length_one(embed: Embed) -> None:
    vectors = embed(fake_embedder_handle(), ["a", "bbb", "ab" * 5, "", "h", "cc"])
    assert vectors.dtype == np.float32
    assert vectors.argmax(axis=1).tolist() == [0, 1, 0, 0, 7, 2]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 0, 1, 1])


def test_batches_have_texts_of_like_length_the_longest_first(embed: Embed) -> None:
    engine, told = FakeEmbedder(), []
    embed(
        fake_embedder_handle(engine),
        ["a" * length for length in (1, 9, 2, 8, 3, 7)],
        progress=lambda done, whole: told.append((done, whole)),
    )
    assert [[len(text) for text in batch] for batch in engine.batches] == [[9, 8, 7, 3], [2, 1]]
    assert told == [(4, 6), (6, 6)]


def test_raw_vectors_stay_as_they_are(embed: Embed) -> None:
    assert embed(fake_embedder_handle(normalise=False), ["aab"])[0, :3].tolist() == [2, 1, 0]


def test_no_texts_are_no_error(embed: Embed) -> None:
    assert embed(fake_embedder_handle(), []).shape == (0, 8)


def test_a_generator_of_texts_will_do(embed: Embed) -> None:
    assert embed(fake_embedder_handle(), (text for text in ("a", "b"))).shape == (2, 8)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ("abc", "texts is one text, 'abc'"),
        (b"abc", "texts is one text"),
        (5, "texts is int"),
        (["a", 5], "text 1 is 5, a int"),
        (["a", None], "text 1 is None"),
        (["\ud83d"], "text 0 has half a surrogate pair at 0"),
    ],
)
def test_what_is_no_text_is_refused_by_name(embed: Embed, texts: Any, told: str) -> None:
    with pytest.raises(InvalidParameterError, match=told):
        embed(fake_embedder_handle(), texts)


def test_a_long_text_is_refused_by_its_place(embed: Embed) -> None:
    with pytest.raises(ContextLengthError, match="text 5 has 21 tokens, the embedder reads 16") as caught:
        embed(fake_embedder_handle(), ["a"] * 5 + [LONG, "b"])
    assert (caught.value.text, caught.value.prompt_tokens, caught.value.context_length) == (5, 21, 16)


def test_cut_texts_are_counted_in_one_warning(embed: Embed) -> None:
    handle = fake_embedder_handle(truncate=True)
    with pytest.warns(TruncationWarning, match="2 of 7 texts were cut to 16 tokens, text 1 the first") as caught:
        embed(handle, ["a", LONG, "a", "a", "a", "a", LONG + "b"])
    assert len(caught) == 1
    with pytest.raises(ContextLengthError):
        embed(handle, [LONG], truncate=False)


def test_the_warning_points_to_the_caller() -> None:
    with pytest.warns(TruncationWarning) as caught:
        fake_embedder_handle().embed_documents([LONG], truncate=True)
    assert caught[0].filename == __file__


def test_a_truncation_warning_made_an_error_is_told_as_it_is() -> None:
    events: list[RequestEvent] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TruncationWarning):
            fake_embedder_handle(tell=events.append).embed_documents([LONG], truncate=True)
    assert [event.error for event in events] == [None]


def test_prefixes_are_put_before_and_counted() -> None:
    engine = FakeEmbedder()
    handle = fake_embedder_handle(engine, query_prefix="q ", document_prefix="d ")
    handle.embed_query("a")
    handle.embed_documents(["a"])
    assert engine.batches == [["q a"], ["d a"]]
    assert handle.count_tokens(["a", ""]) == [4, 3]
    assert handle.count_tokens([]) == []


def test_an_engines_own_exception_is_translated(embed: Embed) -> None:
    events: list[RequestEvent] = []
    with pytest.raises(EmbeddingError, match="'fake' failed: RuntimeError: the fake embedder broke"):
        embed(fake_embedder_handle(FakeEmbedder(fail=True), tell=events.append), ["a"])
    assert events[0].error == "the fake embedder broke"


def test_observers_are_told(embed: Embed) -> None:
    events: list[RequestEvent] = []
    embed(fake_embedder_handle(tell=events.append), ["ab", "c"])
    (event,) = events
    assert event.usage is not None
    assert (event.backend, event.model, event.usage.prompt_tokens) == ("fake", "fake-embedding-model", 5)


def test_a_closed_engine_says_so(embed: Embed) -> None:
    handle = fake_embedder_handle()
    handle.opened.closed = True
    with pytest.raises(EngineClosedError, match=r"bay.embedder"):
        embed(handle, ["a"])


@pytest.mark.parametrize(("concurrency", "most"), [(Concurrency.SERIAL, 1), (Concurrency.THREAD_SAFE, 4)])
def test_a_serial_engine_takes_one_batch_at_a_time(concurrency: Concurrency, most: int) -> None:
    engine = FakeEmbedder(pause=0.02)
    handle = fake_embedder_handle(engine, spec=fake_embedder_spec(concurrency=concurrency))
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        handle.embed_documents(["a"] * 12)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert engine.most_running <= most
    if concurrency is Concurrency.SERIAL:
        assert len(engine.batches) == 12


def test_a_query_comes_in_between_the_batches_of_many_documents() -> None:
    engine = FakeEmbedder(pause=0.01)
    handle = fake_embedder_handle(engine)
    threading.Thread(target=lambda: handle.embed_documents(["a"] * 400)).start()
    while not engine.batches:
        pass
    handle.embed_query("b")
    assert len(engine.batches) < 100


def test_cancelling_ends_with_the_batch_under_way() -> None:
    engine = FakeEmbedder(pause=0.02)
    handle = fake_embedder_handle(engine)

    async def cancelled() -> None:
        task = asyncio.ensure_future(handle.aembed_documents(["a"] * 400))
        while not engine.batches:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 0, "the engine still runs when the task has ended"
        begun = len(engine.batches)
        assert (await handle.aembed_query("b")).argmax() == 1
        assert len(engine.batches) == begun + 1

    asyncio.run(cancelled())


def test_similarity_has_an_axis_for_each_side_with_several() -> None:
    handle = fake_embedder_handle()
    assert handle.similarity("ab", "a") == pytest.approx(2**-0.5)
    assert handle.similarity("a", ["a", "b"]) == pytest.approx(np.array([1, 0]))
    assert handle.similarity(["a", "b"], "a") == pytest.approx(np.array([1, 0]))
    vectors = 3 * np.eye(8, dtype=np.float32)
    assert handle.similarity(["a", "b", ""], vectors[:2]) == pytest.approx(np.array([[1, 0], [0, 1], [0, 0]]))
    with pytest.raises(InvalidParameterError, match=r"shape \(3,\)"):
        handle.similarity("a", vectors[0, :3])


def test_search_ranks_texts_or_vectors() -> None:
    handle = fake_embedder_handle(query_prefix="h")
    found = handle.search("ab", ["b", "ab", "h", "abh"], limit=3)
    assert [index for index, _ in found] == [3, 1, 0]
    assert found[0][1] == pytest.approx(1)
    vectors = handle.embed_documents(["c", "h"])
    assert handle.search("", vectors) == [(1, pytest.approx(1)), (0, pytest.approx(0))]
    assert handle.search(vectors[0], vectors, limit=1) == [(0, pytest.approx(1))]
