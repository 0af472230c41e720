"""Answers are checked against what they cite. The generator is a fake that gives a scripted text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginebay import Bay
from enginebay.errors import GenerationError, InvalidParameterError
from enginebay.generation.handle import GeneratorHandle
from enginebay.interfaces.generator import Timing
from enginebay.retrieval import Document, Index, SourcedAnswer, aask, ask, astream_ask, stream_ask
from enginebay.retrieval.answering import UNKNOWN
from enginebay.retrieval.quoting import Sources, sentences
from fake_engine import FakeGenerator, fake_handle, fake_model
from fake_index import fake_index

TOWER = """# The tower

The Eiffel tower stands in Paris. It was built in 1889
by the company of Gustave Eiffel.

It is 330 metres high.
"""
BAKERY = "The bakery closes at six in the evening. Four bakers work there."


class Scripted(FakeGenerator):
    """A fake with room for prompts."""

    @property
    def context_length(self) -> int:
        return 4000


def answering(*pieces: str, **engine: Any) -> GeneratorHandle:
    return fake_handle(Scripted(pieces, **engine), model=fake_model(context_length=4000))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "tower.md").write_text(TOWER)
    (folder / "bakery.txt").write_text(BAKERY)
    with Bay() as bay:
        made = fake_index(bay, tmp_path / "store", root=folder, passage_tokens=40)
        made.sync(folder)
        yield made


def test_claims_are_quoted_with_their_place(index: Index) -> None:
    handle = answering("The tower was built in 1889 [1]. It is 330 metres high [1].")
    answer = ask(index, handle, "When was the Eiffel tower built, and how high is it?", max_tokens=200)
    assert answer.known
    assert answer.text == "The tower was built in 1889. [1] It is 330 metres high. [2]"
    first, second = answer.quotations
    assert (first.where, first.text) == ("tower.md:3-4", "It was built in 1889\nby the company of Gustave Eiffel.")
    assert (second.where, second.text) == ("tower.md:6", "It is 330 metres high.")
    for one in (first, second):
        assert TOWER[one.start : one.end] == one.text
        assert (one.named, one.in_file) == (True, True)
    assert answer.unsupported == ()
    assert answer.results[0].text.startswith("The tower was built in 1889 [1].")


def test_what_the_passage_does_not_hold_is_not_cited(index: Index) -> None:
    handle = answering("The tower was built in 1887 [1]. Wizards painted everything blue [2] [7].")
    answer = ask(index, handle, "When was the Eiffel tower built?", max_tokens=200)
    assert answer.text == "The tower was built in 1887. Wizards painted everything blue."
    assert [claim.dropped for claim in answer.claims] == [(1,), (7, 2)]
    assert len(answer.unsupported) == 2


def test_a_wrong_number_and_none_lead_to_the_right_place(index: Index) -> None:
    question = "When does the bakery close, and how high is the Eiffel tower?"
    places = [passage.source for passage in index.search(question)]
    wrong = places.index("tower.md") + 1
    answer = ask(index, answering(f"The bakery closes at six [{wrong}]. The tower is 330 metres high."), question)
    assert [one.where for one in answer.quotations] == ["bakery.txt:1", "tower.md:6"]
    assert [one.named for one in answer.quotations] == [False, False]
    assert answer.claims[0].dropped == (wrong,)


def test_short_answers_must_stand_where_the_question_does(index: Index) -> None:
    question = "In which city does the Eiffel tower stand?"
    answer = ask(index, answering("Paris."), question)
    assert answer.quotations[0].text == "The Eiffel tower stands in Paris."
    assert ask(index, answering("The."), "How many bakers work in the bakery?").claims[0].quotations != ()
    assert ask(index, answering("No."), question).unsupported != ()


def test_nothing_relevant_asks_no_model(index: Index) -> None:
    handle = answering("made up")
    answer = ask(index, handle, "xylophone zebra quux")
    assert (answer.known, answer.text, answer.claims, answer.results) == (False, UNKNOWN, (), ())
    assert handle.engine.requests == []  # type: ignore[attr-defined]
    assert answer.usage.prompt_tokens == 0
    assert ask(index, handle, "xylophone zebra quux", min_similarity=-1.0).known
    assert not ask(index, handle, "xylophone zebra quux", mode="lexical").known
    assert not asyncio.run(aask(index, handle, "xylophone zebra quux")).known


PIECES = ("The tower was ", "built in 1889 [", "1]. It is 330 ", "metres high [2].")
ASKED = "When was the Eiffel tower built, and how high is it?"


def untimed(answer: SourcedAnswer) -> SourcedAnswer:
    """The answer without what differs from run to run."""
    untimed = {"timing": Timing(0, 0, 0), "decision": None}
    return replace(answer, results=tuple(replace(result, **untimed) for result in answer.results))


def test_a_stream_ends_with_the_same_answer(index: Index) -> None:
    whole = ask(index, answering(*PIECES), ASKED, max_tokens=200)
    with stream_ask(index, answering(*PIECES), ASKED, max_tokens=200) as stream:
        with pytest.raises(GenerationError, match="to its end"):
            _ = stream.answer
        assert tuple(stream.texts()) == PIECES, "as the model writes it"
    assert whole.text == "The tower was built in 1889. [1] It is 330 metres high. [2]"
    assert untimed(stream.answer) == untimed(whole)

    async def twin() -> SourcedAnswer:
        async with astream_ask(index, answering(*PIECES), ASKED, max_tokens=200) as stream:
            assert tuple([text async for text in stream.texts()]) == PIECES
        return stream.answer

    assert untimed(asyncio.run(twin())) == untimed(whole)


def test_a_stream_that_asks_no_model(index: Index) -> None:
    handle = answering("made up")
    with stream_ask(index, handle, "xylophone zebra quux") as stream:
        assert [chunk.text for chunk in stream] == [UNKNOWN]
    assert stream.answer == ask(index, handle, "xylophone zebra quux")

    async def twin() -> list[str]:
        return [chunk.text async for chunk in astream_ask(index, handle, "xylophone zebra quux")]

    assert asyncio.run(twin()) == [UNKNOWN]
    assert handle.engine.requests == []  # type: ignore[attr-defined]


def test_closing_a_stream_stops_the_engine(index: Index) -> None:
    handle = answering(*PIECES)
    stream = stream_ask(index, handle, ASKED)
    next(stream)
    stream.close()
    assert (handle.engine.given, handle.engine.running) == (1, 0)  # type: ignore[attr-defined]
    with pytest.raises(GenerationError, match="to its end"):
        _ = stream.answer

    async def cancelled() -> tuple[int, int]:
        handle = answering(*PIECES, pause=0.05)

        async def read() -> None:
            async with astream_ask(index, handle, ASKED) as stream:
                async for _ in stream:
                    begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return handle.engine.given, handle.engine.running  # type: ignore[attr-defined]

    given, running = asyncio.run(cancelled())
    assert given < len(PIECES)
    assert running == 0


def test_what_fails_in_a_stream_is_told(index: Index) -> None:
    with pytest.raises(GenerationError) as caught:
        list(stream_ask(index, answering(*PIECES, fail_after=2), ASKED))
    assert caught.value.partial_text == "".join(PIECES[:2])
    with pytest.raises(InvalidParameterError, match="limt"):
        next(stream_ask(index, answering(*PIECES), ASKED, limt=3))


def test_a_file_that_has_changed_since_is_told(index: Index) -> None:
    index.file_of("tower.md").write_text("Something else.")
    answer = ask(index, answering("It is 330 metres high [1]."), "How high is the Eiffel tower?")
    assert [one.in_file for one in answer.quotations] == [False]
    index.file_of("tower.md").unlink()
    answer = ask(index, answering("It is 330 metres high [1]."), "How high is the Eiffel tower?")
    assert [one.in_file for one in answer.quotations] == [None]


def test_documents_that_are_no_files(index: Index) -> None:
    index.upsert(Document("note", "The meeting is on Tuesday."))
    answer = asyncio.run(aask(index, answering("On Tuesday, the meeting is [1]."), "When is the meeting?"))
    assert [(one.where, one.in_file) for one in answer.quotations] == [("note:1", None)]


def test_passages_beyond_the_context_are_left_out(index: Index) -> None:
    small = fake_handle(FakeGenerator(["no"]), model=fake_model(context_length=128))
    index.upsert(Document(f"note {number}", f"Zebra {number} " * 9) for number in range(3))

    class Small(Scripted):
        @property
        def context_length(self) -> int:
            return 500

    small = fake_handle(Small(["Zebras."]), model=fake_model(context_length=500))
    answer = ask(index, small, "zebra", max_tokens=10)
    assert answer.left_out
    assert len(answer.left_out) < len(answer.passages)


def test_sentences() -> None:
    def cut(text: str) -> list[str]:
        return [text[span.start : span.end] for span in sentences(text)]

    assert cut("One. Two! Three? [1] Four") == ["One.", "Two!", "Three? [1]", "Four"]
    assert cut("It costs 1.5 euros, e.g. today.") == ["It costs 1.5 euros, e.g. today."]
    assert cut("1. First thing.\n2. Second thing.\n- third") == ["1. First thing.", "2. Second thing.", "- third"]
    assert cut("A heading\n\nwrapped\nlines") == ["A heading", "wrapped\nlines"]
    assert cut(" \n ") == []
    long = "\n".join(f"line {number} of code" for number in range(40))
    assert len(cut(long)) == 40


def test_numbers_must_be_the_same() -> None:
    sources = Sources(["A vector takes 1.5 KB of memory.", "The tower was built in 1889."])
    assert sources.best("A vector takes 1 KB of memory.", "", [0, 1]) is None
    found = sources.best("It was built in 1889.", "", [0, 1])
    assert found is not None
    assert found.text == 1
