"""The rules of a vector store."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from enginebay.errors import (
    CollectionMismatchError,
    CollectionNotFoundError,
    EnginebayError,
    EngineClosedError,
    InvalidFilterError,
    InvalidParameterError,
    RecordError,
    UnsupportedFeatureError,
)
from enginebay.interfaces.filters import OPERATORS, STRING_ORDER, Compare, F, Filter, filter_as_json, matches
from enginebay.interfaces.vector_store import Metric, Record
from enginebay.stores import Collection
from enginebay.testing.checks import Checks, RuleBrokenError, refused, require
from enginebay.testing.store_subject import (
    DIMENSION,
    LANGUAGES,
    NUMBERS,
    StoreSubject,
    clustered,
    comparisons,
    dropped,
    random_filter,
    record,
)

STORE_CHECKS: Checks[StoreSubject] = Checks()

FAR_OFF = 1e-3
"""How far a score may be from the formula: some stores keep vectors in fewer bits."""


def _written(collection: Collection, *records: Record, namespace: str = "") -> None:
    collection.upsert(records, namespace=namespace)
    collection.wait_until_visible([one.id for one in records], namespace=namespace)


def _eventually(holds: Callable[[], bool], problem: str, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not holds():
        require(time.monotonic() < until, problem)
        time.sleep(0.05)


def _soon(collection: Collection, holds: Callable[[], bool], problem: str) -> None:
    """Deletions and counts are seen after a while on stores of eventual consistency; the others get no second look."""
    _eventually(holds, problem, 0 if collection.immediate else 20)


@STORE_CHECKS
def collections_are_listed_and_keep_their_facts(subject: StoreSubject) -> None:
    """A collection keeps name, dimension, metric and embedder, in this and every later opening."""
    made = subject.store.create_collection("check-facts", 7, metric=Metric.DOT, embedder_fingerprint="abc")
    require(made.info in subject.store.collections(), "the collection is not listed")
    found = subject.reopen().collection("check-facts", embedder_fingerprint="abc").info
    require(found == made.info, f"reopened, it is {found}, not {made.info}")


@STORE_CHECKS
def making_a_collection_twice_is_no_error_with_the_same_facts(subject: StoreSubject) -> None:
    """Making a collection again with the same facts opens it, and loses nothing."""
    first = subject.collection()
    _written(first, record("a"))
    second = subject.store.create_collection(first.info.name, DIMENSION)
    _soon(second, lambda: second.count() == 1, "its records are gone")


@STORE_CHECKS
def other_facts_are_a_mismatch(subject: StoreSubject) -> None:
    """Another dimension, metric or embedder is an error that names both, and loses nothing."""
    store, name = subject.store, "check-mismatch"
    _written(store.create_collection(name, DIMENSION, embedder_fingerprint="one"), record("a"))
    error = CollectionMismatchError
    refused(error, lambda: store.create_collection(name, 5, embedder_fingerprint="one"), "a dimension", "32", "5")
    refused(
        error,
        lambda: store.create_collection(name, DIMENSION, metric="dot", embedder_fingerprint="one"),
        "a metric",
        "cosine",
        "dot",
    )
    refused(error, lambda: store.collection(name, embedder_fingerprint="two"), "an embedder", "one", "two")
    kept = store.collection(name)
    _soon(kept, lambda: kept.count() == 1, "the refusal lost a record")


@STORE_CHECKS
def an_unknown_collection_is_an_error(subject: StoreSubject) -> None:
    """Opening a collection that is not there is an error; dropping it is none."""
    refused(CollectionNotFoundError, lambda: subject.store.collection("check-nowhere"), "a missing collection")
    subject.store.drop_collection("check-nowhere")


@STORE_CHECKS
def a_dropped_collection_is_soon(subject: StoreSubject) -> None:
    """A dropped collection is gone with its records; one of the same name starts empty."""
    collection = subject.collection()
    _written(collection, record("a"))
    subject.store.drop_collection(collection.info.name)
    require(collection.info not in subject.store.collections(), "it is still listed")
    refused(CollectionNotFoundError, lambda: collection.upsert([record("b")]), "a write to a dropped collection")
    again = subject.store.create_collection(collection.info.name, 5, metric=Metric.EUCLIDEAN)
    require(again.count() == 0, "a new one of the same name has old records")


@STORE_CHECKS
def impossible_collections_are_refused(subject: StoreSubject) -> None:
    """Names, dimensions and metrics that not every store takes are refused by name."""
    for name in ("", "ab", "Upper", "has space", "a" * 50, "../up", "x;drop"):
        refused(InvalidParameterError, lambda name=name: subject.store.create_collection(name, 3), f"name {name!r}")  # type: ignore[misc]
    for width in (0, -1, 10**9, 2.5, True):
        refused(
            InvalidParameterError,
            lambda width=width: subject.store.create_collection("check-width", width),  # type: ignore[misc]
            f"dimension {width!r}",
        )
    refused(
        InvalidParameterError, lambda: subject.store.create_collection("check-x", 3, metric="cosin"), "cosin", "cosine"
    )


@STORE_CHECKS
def records_come_back_whole(subject: StoreSubject) -> None:
    """Id, vector, text and metadata come back as written, each value of its own type."""
    collection = subject.collection(Metric.DOT)
    given = {
        "text": "é 日本語 🦉 'quoted' \"double\" \\ line\nbreak",
        "empty": "",
        "small": -1,
        "whole": 3.0,
        "real": 0.1,
        "yes": True,
        "no": False,
        "tags": ["b", "a", "b"],
        "none": [],
        "a.b": 1,
        "ä b": "x",
        "$eq": "y",
    }
    made = record("any id / with: 'signs' 🦉", metadata=given, text="the text\nof it é")
    _written(collection, made)
    (found,) = collection.get([made.id])
    _same(found, made)
    (hit,) = collection.query(made.vector, with_vectors=True)
    require(hit.vector is not None, "a query gives no vector when asked for one")
    assert hit.vector is not None
    _same(Record(hit.id, hit.vector, hit.metadata, hit.text), made)
    (hit,) = collection.query(made.vector)
    require(hit.vector is None, "a query gives vectors that nobody asked for")


def _same(found: Record, made: Record) -> None:
    require((found.id, found.text) == (made.id, made.text), f"{found.id!r}, {found.text!r} came back")
    require(found.vector.dtype == np.float32, f"the vector is of type {found.vector.dtype}, not float32")
    require(bool(np.allclose(found.vector, made.vector, rtol=1e-6)), "the vector came back changed")
    require(dict(found.metadata) == dict(made.metadata), f"metadata came back as {dict(found.metadata)}")
    for name, value in made.metadata.items():
        kind = type(found.metadata[name])
        require(kind is type(value), f"{name!r} = {value!r} came back as {kind.__name__}")


@STORE_CHECKS
def integers_come_back_exactly(subject: StoreSubject) -> None:
    """Integers of 64 bits come back as the same integers."""
    collection = subject.collection()
    edges = [number for number in NUMBERS if isinstance(number, int)]
    _written(collection, *(record(str(number), metadata={"number": number}) for number in edges))
    for found in collection.get([str(number) for number in edges]):
        value = found.metadata["number"]
        require(type(value) is int and str(value) == found.id, f"{found.id} came back as {value!r}")


@STORE_CHECKS
def none_is_dropped(subject: StoreSubject) -> None:
    """Metadata that is None is as if it were not given."""
    collection = subject.collection()
    _written(collection, record("a", metadata={"gone": None, "kept": 1}))
    (found,) = collection.get(["a"])
    require(dict(found.metadata) == {"kept": 1}, f"metadata came back as {dict(found.metadata)}")
    require(collection.count(where=F.gone.exists()) == 0, "a field that was None exists")


@STORE_CHECKS
def records_without_text_or_metadata(subject: StoreSubject) -> None:
    """A record without text has None, one with the empty text has that."""
    collection = subject.collection()
    _written(collection, record("none"), record("empty", text=""))
    none, empty = collection.get(["none", "empty"])
    require((none.text, empty.text) == (None, ""), f"texts came back as {none.text!r} and {empty.text!r}")
    require(dict(none.metadata) == {}, f"no metadata came back as {dict(none.metadata)}")


@STORE_CHECKS
def what_no_store_keeps_is_refused(subject: StoreSubject) -> None:
    """Nested metadata, NaN, integers beyond 64 bits and broken Unicode are refused by field, and nothing is written."""
    collection = subject.collection()
    bad: list[Any] = [{"a": 1}, [1, 2], ["a", None], math.nan, math.inf, 2**63, b"bytes", "\ud800", {1}, object()]
    for value in bad:
        call = lambda value=value: collection.upsert([record("fine"), record("bad", metadata={"field": value})])  # noqa: E731
        refused(RecordError, call, f"metadata {value!r}", "field")
    for identity in ("", 5, None, "x" * 2000, "\ud800", "nul\0"):
        given: Any = identity
        refused(
            RecordError,
            lambda given=given: collection.upsert([record("fine"), Record(given, record("x").vector)]),  # type: ignore[misc]
            f"id {identity!r}",
        )
    require(collection.count() == 0, "a refused call wrote a record")


@STORE_CHECKS
def upsert_replaces_the_whole_record(subject: StoreSubject) -> None:
    """Writing an id again replaces vector, text and all metadata."""
    collection = subject.collection()
    _written(collection, record("a", metadata={"old": 1, "both": 1}, text="old"))
    new = record("a", metadata={"both": 2}, seed=9)
    _written(collection, new)
    _soon(collection, lambda: collection.get(["a"])[0].text is None, "the old text is still there")
    _same(collection.get(["a"])[0], new)
    _soon(collection, lambda: collection.count() == 1, "there are two records of one id")
    _soon(collection, lambda: collection.count(where=F.old.exists()) == 0, "the old metadata is still found")
    (hit,) = collection.query(new.vector)
    require(abs(hit.score - 1) < FAR_OFF, "the old vector is still searched")


@STORE_CHECKS
def a_written_record_stays_as_it_was_given(subject: StoreSubject) -> None:
    """What a caller does to vector and metadata after the write does not reach the store."""
    collection = subject.collection()
    vector, metadata = record("a").vector.copy(), {"year": 2020}
    _written(collection, Record("a", vector, metadata))
    made = Record("a", vector.copy(), dict(metadata))
    vector[:] = -vector
    metadata["year"] = 1999
    _same(collection.get(["a"])[0], made)
    (hit,) = collection.query(made.vector, where=F.year == 2020)
    require(abs(hit.score - 1) < FAR_OFF, "the vector that was changed later is searched")


@STORE_CHECKS
def duplicate_ids_in_one_call_are_refused(subject: StoreSubject) -> None:
    """An id that occurs twice in one call is refused by name, and nothing is written."""
    collection = subject.collection()
    refused(RecordError, lambda: collection.upsert([record("twin"), record("b"), record("twin")]), "a twin", "twin")
    refused(RecordError, lambda: collection.get(["twin", "twin"]), "a twin in get", "twin")
    require(collection.count() == 0, "a refused call wrote a record")


@STORE_CHECKS
def a_wrong_dimension_is_an_error(subject: StoreSubject) -> None:
    """A vector of another width, or with NaN, is refused in writing and asking, and nothing is written."""
    collection = subject.collection()
    for vector in (
        np.ones(DIMENSION + 1),
        np.ones((2, DIMENSION)),
        np.full(DIMENSION, np.nan),
        np.full(DIMENSION, 1e99),
    ):
        given: Any = vector
        refused(
            RecordError,
            lambda given=given: collection.upsert([record("fine"), Record("bad", given)]),  # type: ignore[misc]
            f"a vector of shape {given.shape}",
            "bad",
        )
        refused(RecordError, lambda given=given: collection.query(given), "a query")  # type: ignore[misc]
    refused(RecordError, lambda: collection.upsert([Record("zero", np.zeros(DIMENSION, np.float32))]), "a zero vector")
    require(collection.count() == 0, "a refused call wrote a record")


@STORE_CHECKS
def empty_calls_do_nothing(subject: StoreSubject) -> None:
    """Writing, getting and deleting nothing is no error; an empty collection answers everything."""
    collection = subject.collection()
    collection.upsert([])
    collection.delete([])
    collection.delete_all()
    collection.wait_until_visible([])
    answers = (
        collection.get([]),
        collection.get(["nothing"]),
        collection.query(record("a").vector),
        collection.query(record("a").vector, where=F.x == 1),
        collection.count(),
        collection.count(where=F.x == 1),
        list(collection.scan()),
        collection.namespaces(),
    )
    require(not any(answers), f"an empty collection answers {answers}")


@STORE_CHECKS
def get_keeps_the_order_asked(subject: StoreSubject) -> None:
    """Records come in the order asked, without those that are not there."""
    asked = [f"record {number}" for number in (7, 3, 4999, 12)] + ["nowhere", "record 5"]
    kept = [identity for identity in asked if identity in {one.id for one in subject.samples}]
    found = [one.id for one in subject.filled.get(asked)]
    require(found == kept, f"asked for {asked}, it gave {found}")


@STORE_CHECKS
def batches_have_no_limit_for_users(subject: StoreSubject) -> None:
    """Any number of records is written, read and deleted in one call."""
    collection = subject.filled
    ids = [one.id for one in subject.samples]
    _soon(collection, lambda: collection.count() == len(ids), f"not all of {len(ids)} records were written")
    found = [one.id for one in collection.get(ids)]
    require(found == ids, f"get gives {len(found)} of {len(ids)} records")
    other = subject.collection()
    other.upsert(subject.samples)
    other.wait_until_visible(ids)
    other.delete(ids[1:])
    _soon(other, lambda: other.count() == 1, "not all were deleted")


@STORE_CHECKS
def scan_gives_each_record_once(subject: StoreSubject) -> None:
    """A scan gives every record once, whole."""
    found = list(subject.filled.scan())
    require(sorted(one.id for one in found) == sorted(one.id for one in subject.samples), f"it gave {len(found)}")
    by_id = {one.id: one for one in subject.samples}
    for one in found[:50]:
        _same(one, by_id[one.id])


@STORE_CHECKS
def deleting_what_is_not_there_is_no_error(subject: StoreSubject) -> None:
    """Deleting unknown ids, or by a filter that matches nothing, is no error."""
    collection = subject.collection()
    _written(collection, record("a"))
    collection.delete(["b", "c"])
    collection.delete(where=F.x == "nothing")
    collection.delete(["a"], namespace="other")
    _soon(collection, lambda: collection.count() == 1, "something else was deleted")
    refused(InvalidParameterError, collection.delete, "a delete of nothing in particular")
    refused(InvalidParameterError, lambda: collection.delete(["a"], where=F.x == 1), "ids and a filter together")


@STORE_CHECKS
def deleted_records_are_gone_everywhere(subject: StoreSubject) -> None:
    """A deleted record is not found by id, query, scan or count, and can be written again."""
    collection = subject.collection()
    _written(collection, record("a", metadata={"x": 1}), record("b"))
    collection.delete(["a"])
    _soon(collection, lambda: collection.count() == 1, "it is still counted")
    _soon(collection, lambda: collection.get(["a"]) == [], "it is still there by id")
    _soon(collection, lambda: [hit.id for hit in collection.query(record("a").vector)] == ["b"], "it is still found")
    _soon(collection, lambda: [one.id for one in collection.scan()] == ["b"], "it is still scanned")
    _written(collection, record("a"))
    _soon(collection, lambda: collection.count() == 2, "it could not be written again")
    require(collection.count(where=F.x == 1) == 0, "its old metadata came back")


@STORE_CHECKS
def delete_by_filter_deletes_what_matches(subject: StoreSubject) -> None:
    """Deleting by a filter deletes what the filter matches, no more and no less."""
    collection = subject.collection()
    samples = subject.samples[:600]
    collection.upsert(samples)
    collection.wait_until_visible([one.id for one in samples])
    where = (F.lang != "de") & F.tags.exists()
    collection.delete(where=where)
    kept = {one.id for one in samples if not matches(where, one.metadata)}
    _soon(collection, lambda: {one.id for one in collection.scan()} == kept, "the rest is not what does not match")


@STORE_CHECKS
def namespaces_are_apart(subject: StoreSubject) -> None:
    """Records of one namespace are not seen, counted or deleted in another."""
    collection = subject.collection()
    here, there = record("a", metadata={"x": 1}), record("a", metadata={"x": 2}, seed=3)
    _written(collection, here)
    _written(collection, there, record("b"), namespace="Über/2 🦉")
    _soon(collection, lambda: collection.namespaces() == ["", "Über/2 🦉"], "the namespaces are not the two")
    _soon(
        collection,
        lambda: (collection.count(), collection.count(namespace="Über/2 🦉")) == (1, 2),
        "they are counted together",
    )
    _same(collection.get(["a"], namespace="Über/2 🦉")[0], there)
    require([hit.id for hit in collection.query(there.vector)] == ["a"], "a query looks into another namespace")
    require(collection.count(where=F.x == 2) == 0, "a filter looks into another namespace")
    require(collection.query(here.vector, namespace="unknown") == [], "an unknown namespace is not empty")
    collection.delete_all(namespace="Über/2 🦉")
    _soon(collection, lambda: collection.namespaces() == [""], "an emptied namespace is still listed")
    _same(collection.get(["a"])[0], here)


@STORE_CHECKS
def scores_follow_the_metric(subject: StoreSubject) -> None:
    """`score` is cosine similarity, dot product or minus the Euclidean distance; higher is nearer, best first."""
    formulas: dict[Metric, Callable[[Any, Any], float]] = {
        Metric.COSINE: lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
        Metric.DOT: lambda a, b: float(a @ b),
        Metric.EUCLIDEAN: lambda a, b: -float(np.linalg.norm(a - b)),
    }
    samples = subject.samples[:300]
    asked = subject.samples[-1].vector
    for metric, formula in formulas.items():
        collection = subject.collection(metric)
        collection.upsert(samples)
        collection.wait_until_visible([one.id for one in samples])
        hits = collection.query(asked, limit=20)
        scores = [hit.score for hit in hits]
        require(scores == sorted(scores, reverse=True), f"{metric}: hits are not best first")
        by_id = {one.id: one.vector for one in samples}
        for hit in hits:
            wanted = formula(by_id[hit.id], asked)
            require(abs(hit.score - wanted) < FAR_OFF * max(1, abs(wanted)), f"{metric}: {hit.score}, not {wanted}")
        best = max(formula(vector, asked) for vector in by_id.values())
        require(abs(scores[0] - best) < FAR_OFF * max(1, abs(best)), f"{metric}: the first is not the nearest")


@STORE_CHECKS
def the_nearest_are_found(subject: StoreSubject) -> None:
    """recall@10 on clustered vectors is at least what is declared: 1 for an exact store."""
    collection = subject.filled
    vectors = np.stack([one.vector for one in subject.samples])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = 0
    asked = clustered(50, seed=6)
    for vector in asked:
        truth = set(np.argsort(-(unit @ vector), kind="stable")[:10].tolist())
        hits = collection.query(vector, limit=10)
        require(len(hits) == 10, f"{len(hits)} hits for a limit of 10")
        found += sum(int(hit.id.split()[1]) in truth for hit in hits)
    recall = found / (10 * len(asked))
    least = subject.least_recall if collection.approximate else 0.999
    require(recall >= least, f"recall@10 is {recall:.3f}, not {least}")


@STORE_CHECKS
def limits_are_kept(subject: StoreSubject) -> None:
    """A query gives as many hits as asked for, or all there are; impossible limits are refused."""
    vector = subject.samples[0].vector
    for limit in (1, 3, 100):
        found = len(subject.filled.query(vector, limit=limit))
        require(found == limit, f"{found} hits for a limit of {limit}")
    small = subject.collection()
    _written(small, record("a"), record("b"))
    require(len(small.query(record("a").vector, limit=10_000)) == 2, "not all records for a limit above them")
    for bad in (0, -1, 10_001, 2.5, True):
        given: Any = bad
        refused(InvalidParameterError, lambda given=given: small.query(vector, limit=given), f"limit {bad}")  # type: ignore[misc]


def _compare_with_oracle(subject: StoreSubject, where: Filter) -> None:
    truth = {one.id for one in subject.samples if matches(where, one.metadata)}
    told = filter_as_json(where)
    number = subject.filled.count(where=where)
    require(number == len(truth), f"{told}: count gives {number}, the oracle {len(truth)}")
    hits = subject.filled.query(subject.samples[0].vector, limit=25, where=where)
    wrong = [hit.id for hit in hits if hit.id not in truth]
    require(not wrong, f"{told}: a query gives {wrong}, which do not match")
    least = 0 if subject.filled.approximate else min(25, len(truth))
    require(len(hits) >= least, f"{told}: a query gives {len(hits)} hits, and {len(truth)} match")


def _compare_scan(subject: StoreSubject, where: Filter) -> None:
    truth = {one.id for one in subject.samples if matches(where, one.metadata)}
    found = [one.id for one in subject.filled.scan(where=where)]
    require(set(found) == truth and len(found) == len(truth), f"{filter_as_json(where)}: a scan differs")


@STORE_CHECKS
def every_comparison_means_the_same(subject: StoreSubject) -> None:
    """Each declared comparison, on every kind of value, matches what the definition says."""
    made = comparisons(subject.filled.operators)
    for where in made:
        _compare_with_oracle(subject, where)
    for where in made[::12]:
        _compare_scan(subject, where)


@STORE_CHECKS
def nested_filters_mean_the_same(subject: StoreSubject) -> None:
    """Random filters, nested with and, or and not, match what the definition says."""
    drawn = random.Random(11)
    for number in range(subject.filters):
        where = random_filter(drawn, subject.filled.operators)
        _compare_with_oracle(subject, where)
        if number % 20 == 0:
            _compare_scan(subject, where)


@STORE_CHECKS
def undeclared_operators_are_refused(subject: StoreSubject) -> None:
    """A filter operator that the store does not declare is refused by name."""
    values: dict[str, Any] = {"in": ["a"], "nin": ["a"], "exists": True, "contains": "a"}
    for name in sorted(OPERATORS - subject.filled.operators - {"and", "or", "not"}):
        where = Compare("lang", "gt" if name == STRING_ORDER else name, values.get(name, "a"))  # type: ignore[arg-type]
        refused(UnsupportedFeatureError, lambda where=where: subject.filled.count(where=where), name, name)  # type: ignore[misc]


@STORE_CHECKS
def missing_fields_match_ne_and_nin_alone(subject: StoreSubject) -> None:
    """A record without the field matches ne, nin and exists(False), and nothing else."""
    collection = subject.collection()
    _written(collection, record("with", metadata={"x": 1}), record("without"))
    wanted: dict[Filter, set[str]] = {
        F.x != 1: {"without"},
        F.x != 2: {"with", "without"},
        F.x.none_of([1]): {"without"},
        F.x.exists(False): {"without"},
        F.x == 1: {"with"},
        F.x > 0: {"with"},
        F.x.one_of([]): set(),
        F.x.none_of([]): {"with", "without"},
    }
    for where, ids in wanted.items():
        if where.operator in collection.operators:
            found = {one.id for one in collection.scan(where=where)}
            require(found == ids, f"{filter_as_json(where)} matches {found}, not {ids}")
            found = {hit.id for hit in collection.query(record("with").vector, where=where)}
            require(found == ids, f"a query for {filter_as_json(where)} gives {found}, not {ids}")


@STORE_CHECKS
def strings_are_compared_exactly(subject: StoreSubject) -> None:
    """Strings are equal when they are the same code points: no case, accent or word is folded."""
    collection = subject.collection()
    _written(collection, *(record(f"{number}", metadata={"s": text}) for number, text in enumerate(LANGUAGES)))
    for number, text in enumerate(LANGUAGES):
        found = [one.id for one in collection.scan(where=F.s == text)]
        require(found == [str(number)], f"{text!r} matches {[LANGUAGES[int(one)] for one in found]}")


@STORE_CHECKS
def filters_are_taken_as_json(subject: StoreSubject) -> None:
    """A filter's JSON form gives what the expression gives."""
    where = (F.size >= 0) & (F.lang == "de")
    require(
        subject.filled.count(where={"size": {"$gte": 0}, "lang": "de"}) == subject.filled.count(where=where),
        "the JSON form gives another count",
    )


@STORE_CHECKS
def wrong_filters_are_refused(subject: StoreSubject) -> None:
    """Unknown operators, values that an operator does not take and empty filters are refused by name."""
    bad: list[Any] = [
        {}, {"x": {}}, {"x": {"$gt": [1]}}, {"x": {"$gtt": 1}}, {"$xor": [{"x": 1}]}, {"$and": []}, {"x": None},
        {"x": {"$in": "text"}}, {"x": math.nan}, {"x": 2**64}, "x = 1", 5,
        {"x": "\ud800"}, {"x": {"$in": ["nul\0"]}}, {"nul\0": 1},
    ]  # fmt: skip
    for where in bad:
        refused(InvalidFilterError, lambda where=where: subject.filled.count(where=where), f"{where!r}")  # type: ignore[misc]
    refused(InvalidFilterError, lambda: bool(F.x == 1), "a filter's truth value", "&")
    for name in ("nul\0", "\ud800"):
        refused(InvalidParameterError, lambda name=name: subject.filled.count(namespace=name), f"namespace {name!r}")  # type: ignore[misc]


@STORE_CHECKS
def written_records_are_seen(subject: StoreSubject) -> None:
    """After `wait_until_visible`, each write is seen by the next query and filter, and counted."""
    collection = subject.collection()
    for number in range(12):
        one = record(f"{number}", metadata={"n": number})
        _written(collection, one)
        hits = collection.query(one.vector, limit=1, where=F.n == number)
        require([hit.id for hit in hits] == [one.id], f"write {number} is not found")
        _soon(collection, lambda number=number: collection.count() == number + 1, f"write {number} is not counted")  # type: ignore[misc]


@STORE_CHECKS
def a_store_opened_again_has_everything(subject: StoreSubject) -> None:
    """What was acknowledged is there when the store is opened again."""
    collection = subject.collection()
    made = record("a", metadata={"x": 1}, text="é")
    _written(collection, made, record("b"))
    collection.delete(["b"])
    _soon(collection, lambda: collection.count() == 1, "b is still there")
    again = subject.reopen()
    found = again.collection(collection.info.name)
    _same(found.get(["a"])[0], made)
    _soon(found, lambda: found.count() == 1, "a deleted record came back")
    again.close()
    again.close()
    refused(EngineClosedError, lambda: found.count(), "a call after close")


@STORE_CHECKS
def many_threads_write_and_read(subject: StoreSubject) -> None:
    """Eight threads write, read and delete at once; nothing is lost, and every read sees whole records."""
    collection = subject.collection()
    problems: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for turn in range(6):
                ids = [f"{thread} {turn} {number}" for number in range(10)]
                collection.upsert([record(one, metadata={"thread": thread, "turn": turn}) for one in ids])
                collection.wait_until_visible(ids)
                for hit in collection.query(record(ids[0]).vector, limit=50, where=F.thread == thread):
                    require(hit.metadata["thread"] == thread, "a hit does not match the filter")
                collection.delete(ids[:5])
        except BaseException as error:  # noqa: BLE001 - told to the thread that checks
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0] if isinstance(problems[0], Exception) else RuleBrokenError(repr(problems[0]))
    _soon(collection, lambda: collection.count() == 8 * 6 * 5, f"{collection.count()} records, not 240")


@STORE_CHECKS
def hybrid_search_takes_words_and_vectors(subject: StoreSubject) -> None:
    """Where the store has hybrid search, `alpha` weighs words and vector, and filters hold; else it is refused."""
    collection = subject.collection()
    near, far = record("near", metadata={"n": 1}, text="A quiet cat"), record("far", metadata={"n": 2}, text="Two dogs")
    _written(collection, near, far, record("silent"))
    if not collection.hybrid:
        refused(UnsupportedFeatureError, lambda: collection.hybrid_query("dogs", near.vector), "hybrid search")
        return
    by_words = [hit.id for hit in collection.hybrid_query("dogs", near.vector, alpha=0)]
    require(by_words == ["far"], f"by words alone, 'dogs' gives {by_words}")
    by_vector = collection.hybrid_query("dogs", near.vector, alpha=1, limit=1)
    require([hit.id for hit in by_vector] == ["near"], f"by the vector alone, it gives {by_vector}")
    both = collection.hybrid_query("cat", near.vector)
    require(both[0].id == "near" and both[0].text == near.text, f"'cat' with the cat's vector gives {both[0]}")
    scores = [hit.score for hit in both]
    require(scores == sorted(scores, reverse=True), "hits are not best first")
    filtered = [hit.id for hit in collection.hybrid_query("cat", near.vector, where=F.n == 2)]
    require(filtered == ["far"], f"with a filter, it gives {filtered}")
    require(collection.hybrid_query("cat", near.vector, namespace="unknown") == [], "another namespace is searched")
    for bad in (-0.1, 1.1, True, "0.5"):
        given: Any = bad
        call = lambda given=given: collection.hybrid_query("cat", near.vector, alpha=given)  # noqa: E731
        refused(InvalidParameterError, call, f"alpha {bad!r}")


@STORE_CHECKS
def async_twins_do_the_same(subject: StoreSubject) -> None:
    """The async methods give what their twins give, many at once."""
    collection = subject.collection()
    made = [record(f"{number}", metadata={"n": number}) for number in range(20)]

    async def work() -> None:
        await asyncio.gather(*(collection.aupsert([one]) for one in made))
        collection.wait_until_visible([one.id for one in made])
        hits = await asyncio.gather(*(collection.aquery(one.vector, limit=1) for one in made))
        require([hit[0].id for hit in hits] == [one.id for one in made], "an async query gives another record")
        require([one.id for one in await collection.aget(["3", "1"])] == ["3", "1"], "an async get differs")
        await collection.adelete(["3"])

    asyncio.run(work())
    _soon(collection, lambda: collection.count() == 19, "the async delete did nothing")


@STORE_CHECKS
def two_openings_see_each_other(subject: StoreSubject) -> None:
    """What one opening writes or deletes, another open one sees."""
    first = subject.collection()
    other = subject.reopen()
    try:
        second = other.collection(first.info.name)
        for number in range(3):
            _written(first, record(f"{number}"))
            second.wait_until_visible([f"{number}"])
            require(len(second.query(record("0").vector)) == number + 1, "a write of the other is not seen")
        second.delete(["0"])
        _soon(first, lambda: first.count() == 2, "a deletion of the other is not seen")
        _soon(
            first,
            lambda: sorted(hit.id for hit in first.query(record("0").vector)) == ["1", "2"],
            "after the other's deletion, a query gives something else",
        )
    finally:
        other.close()


@STORE_CHECKS
def closing_twice_is_no_error_and_use_after_it_is(subject: StoreSubject) -> None:
    """Closing twice is no error; whatever is asked of a closed store is an EngineClosedError."""
    collection = subject.collection()
    dropped(subject.reopen())
    subject.store.close()
    subject.store.close()
    calls: tuple[Callable[[], object], ...] = (
        subject.store.collections,
        collection.count,
        lambda: collection.query(record("a").vector),
        lambda: collection.upsert([record("a")]),
        lambda: list(collection.scan()),
        lambda: collection.get(["a"]),
    )
    for call in calls:
        try:
            call()
        except EngineClosedError:
            continue
        except EnginebayError as error:
            raise RuleBrokenError(f"a call after close raised {type(error).__name__}: {error}") from error
        raise RuleBrokenError("a call after close was answered")
