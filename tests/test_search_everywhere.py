"""One script on every store, by one line of configuration: the answers are the same."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from emulators.pinecone_emulator import PineconeEmulator
from emulators.weaviate_emulator import WeaviateEmulator
from enginebay import Bay
from real_servers import PostgresServer

pytestmark = pytest.mark.model

SCRIPT = Path(__file__).parent.parent / "examples" / "search.py"
QUESTION = "Which animal guards a house?"
STORES = ("sqlite", "chroma", "lancedb", "qdrant", "pgvector", "pinecone", "weaviate")


@contextmanager
def stores(folder: Path, postgres: PostgresServer) -> Iterator[str]:
    """Configuration of every store; Pinecone and Weaviate are emulators."""
    with ExitStack() as stack:
        pinecone = stack.enter_context(PineconeEmulator())
        weaviate = stack.enter_context(WeaviateEmulator())
        port = weaviate.grpc_port
        parts = [
            f'[stores.{name}]\nbackend = "{name}"\npath = "{folder / name}"'
            for name in ("sqlite", "chroma", "lancedb", "qdrant")
        ]
        parts += [
            f'[stores.pgvector]\nbackend = "pgvector"\nurl = "{postgres.new_database()}"',
            f'[stores.pinecone]\nbackend = "pinecone"\nurl = "{pinecone.url}"\napi_key = "{pinecone.key}"',
            f'[stores.weaviate]\nbackend = "weaviate"\nurl = "{weaviate.url}"\noptions.grpc_port = {port}',
        ]
        yield "\n\n".join(parts)


def test_the_same_script_gives_the_same_answers_on_every_store(
    tmp_path: Path, minilm_path: Path, postgres: PostgresServer
) -> None:
    answers: Callable[[Bay, str], Any] = runpy.run_path(str(SCRIPT))["answers"]
    found: dict[str, Any] = {}
    with stores(tmp_path, postgres) as declared:
        for name in STORES:
            file = tmp_path / "enginebay.toml"
            file.write_text(f'{declared}\n\n[collections.library]\nembedder = "{minilm_path}"\nstore = "{name}"\n')
            with Bay(config=file) as bay:
                found[name] = answers(bay, QUESTION)
    assert found["sqlite"]["vectors"][0] == "dog"
    assert found["sqlite"]["words"] == ["error"]
    assert set(found["sqlite"]["no animal"]) == {"bread", "error"}
    assert found == dict.fromkeys(STORES, found["sqlite"])
