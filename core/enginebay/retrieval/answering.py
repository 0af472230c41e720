"""Answering from an index, with citations that are checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from enginebay.retrieval.documents import Document, Place
from enginebay.retrieval.passages import Passage, place_within, where
from enginebay.retrieval.quoting import Sources, sentences
from enginebay.tasks.answers import Answer
from enginebay.tasks.citing import citing_steps
from enginebay.tasks.driver import AnswerStream, AsyncAnswerStream, arun, run

if TYPE_CHECKING:
    from enginebay.config.settings import SearchMode
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.interfaces.filters import Filter
    from enginebay.prompts.library import PromptLibrary
    from enginebay.prompts.steps import Steps
    from enginebay.retrieval.index import Index
    from enginebay.retrieval.searching import Rerank
    from enginebay.tasks.answers import CitedAnswer

UNKNOWN = "I do not know: nothing that was found is relevant to the question."

_BRACKETS = re.compile(r"\s*\[[\d,;\s\u2013-]+\]")


@dataclass(frozen=True, slots=True)
class Quotation:
    """What a claim rests on: characters of a source.

    Attributes:
        number: as the answer's text cites it, from 1.
        source: the document's id.
        text: the document's characters from `start` up to `end`.
        place: page or lines.
        support: share of the claim's words, by weight, that stand in it, 0 to 1.
        named: the model cited its passage; otherwise it was found by comparing.
        in_file: the file, as it is on this machine now, has the text at these characters; None when there is none here.
    """

    number: int
    source: str
    text: str
    start: int
    end: int
    place: Place
    support: float
    named: bool
    in_file: bool | None

    @property
    def where(self) -> str:
        """Source and place in short, such as "docs/stores.md:12-20"."""
        return where(self.source, self.place)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer.

    Attributes:
        text: without citations.
        quotations: what it rests on; empty when that was not found in the passages shown.
        dropped: numbers by which the model cited passages that do not hold it, or that there are not.
    """

    text: str
    quotations: tuple[Quotation, ...] = ()
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True)
class SourcedAnswer(Answer):
    """An answer out of an index; `text` cites quotations as [1], `results[0].text` is the model's own.

    Attributes:
        known: False when nothing relevant was found; then no model was asked.
        claims: the sentences of the text.
        passages: what was found, the best first.
        similarity: cosine of the nearest passage with the question; None when the search compared words alone.
    """

    known: bool = True
    claims: tuple[Claim, ...] = ()
    passages: tuple[Passage, ...] = ()
    similarity: float | None = None

    @property
    def quotations(self) -> tuple[Quotation, ...]:
        """All quotations by number, each once."""
        found = {one.number: one for claim in self.claims for one in claim.quotations}
        return tuple(found[number] for number in sorted(found))

    @property
    def unsupported(self) -> tuple[Claim, ...]:
        """Claims that rest on nothing that was found in the passages."""
        return tuple(claim for claim in self.claims if not claim.quotations)


def ask(
    index: Index,
    handle: GeneratorHandle,
    question: str,
    *,
    limit: int = 5,
    where: Filter | Mapping[str, Any] | None = None,
    mode: SearchMode | str | None = None,
    rerank: Rerank | None = None,
    min_similarity: float | None = None,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> SourcedAnswer:
    """Answer a question from an index.

    When no passage is as near to the question as `min_similarity`, the answer says so and no model is asked. Else the
    passages are shown to the model, as many as fit, and each sentence of its answer is looked for in them: a citation
    of a passage that does not hold the sentence is dropped, and the words that do hold it are quoted, with their place.

    Args:
        limit, where, mode, rerank: as of `Index.search`.
        min_similarity: cosine, -1 to 1; None takes the configured one.
        sampling: sampling parameters by name; the temperature is 0 unless it is given or configured.

    Raises:
        ContextLengthError: not even one passage fits.
        Beside it, what `Index.search` and `GeneratorHandle.chat` raise.
    """
    steps = _steps(
        index,
        handle,
        question,
        limit=limit,
        where=where,
        mode=mode,
        rerank=rerank,
        min_similarity=min_similarity,
        library=library,
        **sampling,
    )
    return run(handle, steps)


async def aask(index: Index, handle: GeneratorHandle, question: str, **choices: Any) -> SourcedAnswer:
    """Async twin of `ask`, with the same choices."""
    return await arun(handle, _steps(index, handle, question, **choices))


def stream_ask(index: Index, handle: GeneratorHandle, question: str, **choices: Any) -> AnswerStream[SourcedAnswer]:
    """Answer a question from an index, chunk by chunk.

    The chunks are the model's own words, with the numbers of passages as it cites them. What is checked is `answer`,
    after the last chunk: it is what `ask` returns.

    Args:
        choices: as of `ask`, sampling parameters too.

    Raises:
        With the first chunk, what `ask` raises.
    """
    return AnswerStream(handle, _steps(index, handle, question, **choices))


def astream_ask(
    index: Index, handle: GeneratorHandle, question: str, **choices: Any
) -> AsyncAnswerStream[SourcedAnswer]:
    """Async twin of `stream_ask`."""
    return AsyncAnswerStream(handle, _steps(index, handle, question, **choices))


def _steps(
    index: Index,
    handle: GeneratorHandle,
    question: str,
    *,
    limit: int = 5,
    where: Filter | Mapping[str, Any] | None = None,
    mode: SearchMode | str | None = None,
    rerank: Rerank | None = None,
    min_similarity: float | None = None,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Steps[SourcedAnswer]:
    found = index.search(question, limit, where=where, mode=mode, rerank=rerank)
    if not _relevant(index, found, min_similarity):
        return _unknown(found)
    answer = yield from citing_steps(handle, question, _shown(found), library, sampling, greedy=True)
    return _checked(index, question, found, answer)


def _relevant(index: Index, found: Sequence[Passage], least: float | None) -> bool:
    near = _nearest(found)
    return bool(found) and (near is None or near >= (index.settings.min_similarity if least is None else least))


def _nearest(found: Sequence[Passage]) -> float | None:
    return max((one.similarity for one in found if one.similarity is not None), default=None)


def _unknown(found: Sequence[Passage]) -> SourcedAnswer:
    return SourcedAnswer(UNKNOWN, (), (), known=False, passages=tuple(found), similarity=_nearest(found))


def _shown(found: Sequence[Passage]) -> list[dict[str, str]]:
    return [{"text": passage.text, "id": passage.where} for passage in found]


def _checked(index: Index, question: str, found: Sequence[Passage], answer: CitedAnswer) -> SourcedAnswer:
    """The answer with the citations that hold, and where they lead."""
    left_out = {passage.id for passage in answer.left_out}
    shown = [place for place, passage in enumerate(found) if passage.where not in left_out]
    check = _Check(index, question, found, shown)
    claims: list[Claim] = []
    text, end = "", 0
    for span in sentences(answer.text):
        sentence = answer.text[span.start : span.end]
        cited = {one.number: one.passage for one in answer.citations if span.start <= one.start < span.end}
        unknown = [number for number in answer.unknown if f"[{number}]" in sentence]
        if bare := _BRACKETS.sub("", sentence).strip():
            claim = check.claim(bare, cited, unknown)
            claims.append(claim)
            text += answer.text[end : span.start] + bare + "".join(f" [{one.number}]" for one in claim.quotations)
            end = span.end
    return SourcedAnswer(text, answer.results, answer.left_out, True, tuple(claims), tuple(found), _nearest(found))


class _Check:
    """Looks for claims in passages, and numbers what it quotes."""

    def __init__(self, index: Index, question: str, found: Sequence[Passage], shown: Sequence[int]) -> None:
        self._index = index
        self._question = question
        self._found = found
        self._shown = shown
        self._sources = Sources([passage.text for passage in found])
        self._quoted: dict[tuple[str, int, int], Quotation] = {}
        self._documents: dict[str, Document | None] = {}

    def claim(self, text: str, cited: Mapping[int, int], unknown: Sequence[int]) -> Claim:
        """A claim with what it rests on.

        Args:
            cited: passages, as places among those found, by the number that the model cited.
            unknown: numbers it cited that stand for none.
        """
        quotations = []
        dropped = list(unknown)
        for number, place in cited.items():
            quotation = self._quotation(text, [place], named=True)
            if quotation is None:
                dropped.append(number)
            else:
                quotations.append(quotation)
        if not quotations:
            quotation = self._quotation(text, self._shown, named=False)
            quotations = [] if quotation is None else [quotation]
        return Claim(text, tuple(dict.fromkeys(quotations)), tuple(dropped))

    def _quotation(self, claim: str, among: Sequence[int], *, named: bool) -> Quotation | None:
        best = self._sources.best(claim, self._question, among)
        if best is None:
            return None
        passage = self._found[best.text]
        start, end = passage.start + best.span.start, passage.start + best.span.end
        key = (passage.source, start, end)
        if key not in self._quoted:
            text = passage.text[best.span.start : best.span.end]
            place = place_within(passage.place, passage.text, best.span)
            number = len(self._quoted) + 1
            in_file = self._in_file(passage.source, start, end, text)
            self._quoted[key] = Quotation(number, passage.source, text, start, end, place, best.support, named, in_file)
        known = self._quoted[key]
        return replace(known, support=best.support, named=named)

    def _in_file(self, source: str, start: int, end: int, text: str) -> bool | None:
        if source not in self._documents:
            self._documents[source] = self._index.current_document(source)
        document = self._documents[source]
        return None if document is None else document.text[start:end] == text
