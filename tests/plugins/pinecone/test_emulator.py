"""The emulator of Pinecone refuses what Pinecone documents that it refuses, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from emulators.pinecone_emulator import PineconeEmulator

Call = Callable[..., httpx.Response]
FINE = {"id": "a", "values": [1.0, 2.0], "metadata": {"n": 1, "tags": ["x"]}}


@pytest.fixture
def call() -> Iterator[Call]:
    """A function that posts to a new index; `indexes` as path is the control plane."""
    with PineconeEmulator(delay=0) as emulator, httpx.Client() as client:

        def call(path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
            known = {"api-key": emulator.key, "x-pinecone-api-version": "2026-07"}
            place = "indexes" if path == "indexes" else f"at/words/{path}"
            return client.post(f"{emulator.url}/{place}", json=body, headers={**known, **headers})

        assert call("indexes", index("words")).status_code == 201
        yield call


def index(name: str, metric: str = "cosine", **more: Any) -> dict[str, Any]:
    field = {"type": "dense_vector", "dimension": 2, "metric": metric}
    place = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
    return {"name": name, "schema": {"fields": {"_values": field}}, "deployment": place, **more}


def upsert(**changed: Any) -> dict[str, Any]:
    return {"vectors": [{**FINE, **changed}]}


def query(**changed: Any) -> dict[str, Any]:
    return {"topK": 3, "vector": [1.0, 2.0], "includeMetadata": True, **changed}


@pytest.mark.parametrize(
    ("status", "path", "body"),
    [
        (409, "indexes", index("words")),
        (400, "indexes", index("under_score")),
        (400, "indexes", index("x" * 46)),
        (400, "indexes", index("other", metric="dot")),
        (400, "indexes", index("other", tags={"key": "x" * 121})),
        (400, "vectors/upsert", {"vectors": []}),
        (400, "vectors/upsert", {"vectors": [{**FINE, "id": f"{n}"} for n in range(1001)]}),
        (400, "vectors/upsert", {"vectors": [FINE, FINE]}),
        (400, "vectors/upsert", upsert(values=[1.0, 2.0, 3.0])),
        (400, "vectors/upsert", upsert(values=[0.0, 0.0])),
        (400, "vectors/upsert", upsert(id="é")),
        (400, "vectors/upsert", upsert(metadata={"x": None})),
        (400, "vectors/upsert", upsert(metadata={"x": [1, 2]})),
        (400, "vectors/upsert", upsert(metadata={"x": {"y": 1}})),
        (400, "vectors/upsert", upsert(metadata={"$x": 1})),
        (400, "vectors/upsert", upsert(metadata={"x": "y" * 41_000})),
        (413, "vectors/upsert", {"vectors": [{**FINE, "id": f"{n} " + "x" * 500} for n in range(1000)] * 4}),
        (400, "vectors/upsert", {"vectors": [FINE], "namespace": "é"}),
        (404, "vectors/delete", {"ids": ["a"], "namespace": "nowhere"}),
        (400, "query", query(topK=10_001)),
        (400, "query", query(topK=0)),
        (400, "query", query(vector=[1.0])),
        (400, "query", query(filter={"x": {"$gt": "text"}})),
        (400, "query", query(filter={"$not": {"x": 1}})),
        (400, "query", query(filter={"x": {"$in": []}})),
        (400, "query", query(filter={"x": {"$in": [True]}})),
        (400, "query", query(filter={})),
        (404, "vectors/update", {"id": "a"}),
    ],
)
def test_what_is_refused(call: Call, status: int, path: str, body: dict[str, Any]) -> None:
    assert call(path, body).status_code == status


def test_keys_and_versions_are_checked(call: Call) -> None:
    assert call("query", query(), **{"api-key": "wrong"}).status_code == 401
    assert call("query", query(), **{"x-pinecone-api-version": "2024-01"}).status_code == 400


def test_integers_come_back_as_floats_and_lists_take_on_each_value(call: Call) -> None:
    assert call("vectors/upsert", upsert()).json() == {"upsertedCount": 1}
    (found,) = call("query", query(filter={"tags": "x", "n": {"$gte": 1}})).json()["matches"]
    assert found["metadata"] == {"n": 1.0, "tags": ["x"]}
    assert isinstance(found["metadata"]["n"], float)
    assert call("query", query(filter={"tags": {"$ne": "x"}})).json()["matches"] == []


def test_a_result_beyond_4_mb_is_refused(call: Call) -> None:
    large = {"x": "y" * 40_000}
    for start in range(0, 120, 40):
        vectors = [{**FINE, "id": f"{n}", "metadata": large} for n in range(start, start + 40)]
        assert call("vectors/upsert", {"vectors": vectors}).status_code == 200
    assert call("query", query(topK=120)).status_code == 400
    assert call("query", query(topK=100)).status_code == 200
