"""An index on a store that shows writes and deletions late: Pinecone's SDK on an emulator of Pinecone."""

from __future__ import annotations

import pytest

from emulators.pinecone_emulator import PineconeEmulator
from enginebay import Bay
from enginebay.errors import StoreError
from enginebay.retrieval import Document
from enginebay.retrieval import writer as writing
from fake_index import fake_index_in


def test_what_was_removed_is_not_found_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with PineconeEmulator(delay=0.5) as emulator, Bay() as bay:
        index = fake_index_in(bay.store("pinecone", url=emulator.url, api_key=emulator.key))
        index.upsert([Document("cat", "a cat sleeps"), Document("dog", "a dog barks")])
        index.remove("cat")
        assert [passage.source for passage in index.search("cat", 2, mode="vector")] == ["dog"]
        emulator.delay = 30
        monkeypatch.setattr(writing, "_PATIENCE", 0.3)
        with pytest.raises(StoreError, match="removed"):
            index.remove("dog")
