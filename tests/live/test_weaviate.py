"""The conformance kit on a real Weaviate, which environment variables name. `make test-live` runs it.

    WEAVIATE_URL            such as http://127.0.0.1:8080; without it everything here is skipped
    WEAVIATE_GRPC_PORT      50051 if not set
    WEAVIATE_GRPC_HOST      the host of the URL if not set; grpc-… in Weaviate Cloud
    WEAVIATE_API_KEY        none if not set
    WEAVIATE_EVENTUAL       1 for a cluster with replicas, or a server that indexes asynchronously

The classes that it makes have a prefix of their own, and are dropped.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from enginebay import Bay
from enginebay.stores import Store
from enginebay.testing.pytest_stores import StoreConformance

URL = os.environ.get("WEAVIATE_URL")

pytestmark = pytest.mark.skipif(not URL, reason="no real Weaviate is given: set WEAVIATE_URL, see the head of the file")


class TestWeaviate(StoreConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> Iterator[Callable[[], Store]]:
        options = {
            "grpc_port": int(os.environ.get("WEAVIATE_GRPC_PORT", "50051")),
            "grpc_host": os.environ.get("WEAVIATE_GRPC_HOST"),
            "eventual": os.environ.get("WEAVIATE_EVENTUAL") == "1",
            "prefix": f"EnginebayTest{uuid.uuid4().hex[:8]}",
        }
        api_key = os.environ.get("WEAVIATE_API_KEY")
        with ExitStack() as bays:

            def open_store() -> Store:
                return bays.enter_context(Bay()).store("weaviate", url=URL, api_key=api_key, options=options)

            yield open_store
            store = open_store()
            for info in store.collections():
                store.drop_collection(info.name)
