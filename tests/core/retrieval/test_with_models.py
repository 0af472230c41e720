"""Search and answers with the real all-minilm-l6-v2 and SmolLM2."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MODEL_FOLDER
from enginebay import Bay
from enginebay.generation.handle import GeneratorHandle
from enginebay.retrieval import Document, Index, aask, ask, stream_ask

pytestmark = pytest.mark.model

PAGES = {
    "bakery.md": "# The bakery\n\nThe bakery on Mill Street closes at six in the evening.\n\nFour bakers work there.\n",
    "tower.txt": "The Eiffel tower stands in Paris.\nIt was built in 1889 and is 330 metres high.\n",
    "rules.html": "<h1>Rules</h1>\n<p>Dogs must be kept on a lead in the park.</p>\n",
    "bees.txt": "Honey bees turn nectar into honey and keep it in cells of wax.\n",
}


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CACHE", "DATA", "CONFIG"):
            patch.setenv(f"ENGINEBAY_{kind}_DIR", str(tmp_path_factory.mktemp("home")))
        with Bay(overrides={"models": {"directory": str(MODEL_FOLDER)}}) as opened:
            opened.pull("all-minilm-l6-v2")
            yield opened


@pytest.fixture(scope="module")
def index(bay: Bay, tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("pages")
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    made = Index.open(bay, root=folder)
    made.sync(folder)
    return made


@pytest.fixture(scope="module")
def handle(bay: Bay, smollm2_path: Path) -> GeneratorHandle:
    return bay.generator(str(smollm2_path), backend="xllamacpp", context_length=1024)


def test_passages_are_measured_by_the_models_tokenizer(index: Index) -> None:
    assert (index.splitter.counts_by, index.splitter.tokens) == ("tokenizer", 200)
    text = "word " * 2000 + "\n\n" + "日本語 " * 300
    spans = index.splitter.split(Document("long", text))
    counts = index.embedder.count_tokens([text[span.start : span.end] for span in spans])
    assert max(counts) <= 200
    assert max(counts) > 190, "they are filled"


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("At what time does the baker's shop shut?", "bakery.md"),
        ("How tall is the monument in France?", "tower.txt"),
        ("May my puppy run free?", "rules.html"),
        ("What do insects make out of nectar?", "bees.txt"),
    ],
)
def test_what_is_meant_is_found(index: Index, question: str, source: str) -> None:
    for mode in ("hybrid", "vector"):
        assert index.search(question, 1, mode=mode)[0].source == source
    assert (index.search(question, 1, mode="vector")[0].similarity or 0) > index.settings.min_similarity


def test_an_answer_with_its_source(index: Index, handle: GeneratorHandle) -> None:
    answer = ask(index, handle, "When was the Eiffel tower built?", limit=1, max_tokens=40)
    assert answer.known
    assert "1889" in answer.text
    assert "[1]" in answer.text
    quotation = answer.quotations[0]
    assert (quotation.source, quotation.place.last_line, quotation.in_file) == ("tower.txt", 2, True)
    assert "1889" in quotation.text
    assert PAGES["tower.txt"][quotation.start : quotation.end] == quotation.text
    twin = asyncio.run(aask(index, handle, "When was the Eiffel tower built?", limit=1, max_tokens=40))
    assert "1889" in twin.text
    with stream_ask(index, handle, "When was the Eiffel tower built?", limit=1, max_tokens=40) as stream:
        pieces = list(stream.texts())
    assert len(pieces) > 3
    assert "".join(pieces) == twin.results[0].text, "the prompt of both was cached, which changes the last bits"
    assert (stream.answer.text, stream.answer.claims) == (twin.text, twin.claims)


def test_what_nobody_wrote_is_not_known(index: Index, handle: GeneratorHandle) -> None:
    for question in ("How do I file my taxes?", "Who won the football world cup in 1998?"):
        answer = ask(index, handle, question, max_tokens=20)
        assert (answer.known, answer.results) == (False, ())
