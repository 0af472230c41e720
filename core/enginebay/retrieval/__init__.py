"""Search over documents, and answers from them with citations."""

from enginebay.retrieval.answering import Claim, Quotation, SourcedAnswer, aask, ask, astream_ask, stream_ask
from enginebay.retrieval.documents import Document, Kind, Place
from enginebay.retrieval.index import Index
from enginebay.retrieval.passages import Passage
from enginebay.retrieval.reports import LeftOut, Progress, SyncReport

__all__ = [
    "Claim",
    "Document",
    "Index",
    "Kind",
    "LeftOut",
    "Passage",
    "Place",
    "Progress",
    "Quotation",
    "SourcedAnswer",
    "SyncReport",
    "aask",
    "ask",
    "astream_ask",
    "stream_ask",
]
