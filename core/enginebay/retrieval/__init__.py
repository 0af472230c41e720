"""Search over documents, and answers from them with citations."""

from enginebay.retrieval.documents import Document, Kind, Place
from enginebay.retrieval.index import Index
from enginebay.retrieval.passages import Passage
from enginebay.retrieval.reports import LeftOut, Progress, SyncReport

__all__ = ["Document", "Index", "Kind", "LeftOut", "Passage", "Place", "Progress", "SyncReport"]
