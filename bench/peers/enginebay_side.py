"""enginebay: an index in Chroma, embedded by the engine that the matcher chooses."""

from __future__ import annotations

from pathlib import Path

from enginebay import Bay
from enginebay.retrieval import Index


class Side:
    """See worker.py; `model` may name a backend after a comma."""

    def __init__(self, model: str, folder: str) -> None:
        reference, _, backend = model.partition(",")
        self._bay = Bay(
            overrides={
                "embedders": {"bench": {"model": reference, "backend": backend or "auto", "truncate": True}},
                "stores": {"bench": {"backend": "chroma", "path": folder}},
            }
        )
        self.index = Index.open(self._bay, "bench", store="bench", embedder="bench", search="vector")

    def warm_up(self) -> None:
        """Load what is loaded on first use."""
        self.index.embedder.embed_query("warm")

    def ingest(self, files: list[str]) -> int:
        """Index files."""
        return self.index.sync(*map(Path, files)).passages

    def search(self, question: str) -> list[str]:
        """Texts of the nearest passages."""
        return [passage.text for passage in self.index.search(question, 5)]
