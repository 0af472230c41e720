"""What is read out of answers: citations, JSON, the answer after a marker; and schemas made readable."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from enginebay.errors import GenerationError, PromptError
from enginebay.prompts.json_schema import tidy_schema
from enginebay.prompts.json_text import find_json
from enginebay.prompts.passages import Passage, as_passages, read_citations
from enginebay.prompts.strategies import split_at_marker

SHOWN = [(4, Passage(text="a", id="A")), (0, Passage(text="b", id="B")), (2, Passage(text="c"))]


@pytest.mark.parametrize(
    ("text", "numbers", "unknown"),
    [
        ("It is so [1].", [1], []),
        ("[1][2] and [ 3 ]", [1, 2, 3], []),
        ("[1, 2] [3;1]", [1, 2, 3, 1], []),
        ("[1-3] [2\u20133]", [1, 2, 3, 2, 3], []),
        ("[4] [0] [4] [1]", [1], [4, 0]),
        ("[2-5]", [2, 3], [4, 5]),
        ("[1-999999999]", [1], [999999999]),
        ("[3-1]", [3, 1], []),
        ("[a] [1.5] (1) [] [12345678901]", [], []),
    ],
)
def test_citations(text: str, numbers: list[int], unknown: list[int]) -> None:
    citations, made_up = read_citations(text, SHOWN)
    assert [citation.number for citation in citations] == numbers
    assert made_up == unknown


def test_a_citation_leads_to_the_passage_given() -> None:
    (first,), _ = read_citations("So [1].", SHOWN)
    assert (first.passage, first.id, first.start, first.end) == (4, "A", 3, 6)


@given(st.text(alphabet="[]0123456789,;- x", max_size=40))
def test_any_text_is_read(text: str) -> None:
    citations, unknown = read_citations(text, SHOWN)
    assert all(text[one.start] == "[" and text[one.end - 1] == "]" for one in citations)
    assert not {one.number for one in citations} & set(unknown)


def test_passages_are_checked() -> None:
    assert as_passages(["a", {"text": "b", "id": "x"}, Passage(text="c")])[1] == Passage(text="b", id="x")
    with pytest.raises(PromptError, match="passage 1"):
        as_passages(["a", {"id": "x"}])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": [1]}\n```\nDone.', {"a": [1]}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('Here {not json} it is: {"a": {"b": "}"}} - ok', {"a": {"b": "}"}}),
        ("[1, 2] are they", [1, 2]),
    ],
)
def test_json_is_found(text: str, value: Any) -> None:
    assert find_json(text) == value


@pytest.mark.parametrize("text", ["", "none", "{", '{"a": NaN}', '{"a": "\\ud800"}', "[" * 100_000, "{ " * 50_000])
def test_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        find_json(text)


def test_the_answer_after_a_marker() -> None:
    text = "First the answer is unclear. 3 + 2 = 5. The answer is: 5."
    assert split_at_marker(text, "The answer is") == ("First the answer is unclear. 3 + 2 = 5.", "5")
    for bad in ("No marker.", "The answer is", "The answer is ."):
        with pytest.raises(GenerationError) as caught:
            split_at_marker(bad, "The answer is")
        assert caught.value.partial_text == bad


def test_schemas_lose_titles_but_no_property() -> None:
    class Inner(BaseModel):
        title: str

    class Outer(BaseModel):
        title: str | None = Field(None, title="Title!")
        inner: list[Inner] = []
        named: dict[str, Inner] = {}
        open: dict[str, int] = {}

    tidy = tidy_schema(Outer.model_json_schema())
    assert set(tidy["properties"]) == {"title", "inner", "named", "open"}
    assert tidy["additionalProperties"] is False
    assert tidy["$defs"]["Inner"] == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
        "additionalProperties": False,
    }
    assert tidy["properties"]["open"]["additionalProperties"] == {"type": "integer"}
    assert "title" not in tidy["properties"]["title"]
