"""Stores and collections, as users hold them: one meaning over every vector store."""

from enginebay.stores.collection import Collection
from enginebay.stores.store import Store

__all__ = ["Collection", "Store"]
