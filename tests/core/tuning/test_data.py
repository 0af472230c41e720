"""Training examples: what is written is read back, and what is wrong is told with its line and a way out."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.errors import DatasetError
from enginebay.interfaces.tuner import TuningMethod
from enginebay.tuning.data import MAX_LINE, PROBLEMS, check_dataset, read_examples
from enginebay.tuning.examples import METHOD_SHAPES, Shape

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


def turns(begins: str, ends: str) -> st.SearchStrategy[list[dict[str, str]]]:
    count = st.integers(0, 2).map(lambda pairs: 2 * pairs + (1 if begins == ends else 2))
    other = "assistant" if begins == "user" else "user"

    def written(contents: list[str]) -> list[dict[str, str]]:
        return [{"role": other if place % 2 else begins, "content": text} for place, text in enumerate(contents)]

    return count.flatmap(lambda size: st.lists(texts, min_size=size, max_size=size)).map(written)


def written(shape: Shape, messages: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a shape."""
    prompt = turns("user", "user") if messages else texts
    reply = turns("assistant", "assistant") if messages else texts
    fields: dict[Shape, dict[str, st.SearchStrategy[Any]]] = {
        Shape.MESSAGES: {"messages": turns("user", "assistant")},
        Shape.COMPLETION: {"prompt": prompt, "completion": reply},
        Shape.PREFERENCE: {"prompt": prompt, "chosen": reply, "rejected": reply},
        Shape.JUDGED: {"prompt": prompt, "completion": reply, "label": st.booleans()},
        Shape.LABELLED: {"text": texts, "label": texts},
        Shape.PROMPT: {"prompt": prompt},
    }
    made = st.fixed_dictionaries(fields[shape])
    return made.filter(lambda one: one["chosen"] != one["rejected"]) if shape is Shape.PREFERENCE else made


def method_of(shape: Shape) -> TuningMethod:
    return next(method for method, shapes in METHOD_SHAPES.items() if shape in shapes)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "train.jsonl"


def put(file: Path, *lines: object) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    return file


def test_every_method_learns_from_some_shape() -> None:
    assert set(METHOD_SHAPES) == set(TuningMethod)
    assert {shape for shapes in METHOD_SHAPES.values() for shape in shapes} == set(Shape)


@pytest.mark.parametrize("shape", Shape)
@given(data=st.data(), messages=st.booleans(), ascii=st.booleans())
def test_what_is_written_is_read_back(
    file: Path, shape: Shape, data: st.DataObject, messages: bool, ascii: bool
) -> None:
    objects = data.draw(st.lists(written(shape, messages), min_size=1, max_size=4))
    file.write_text("".join(json.dumps(one, ensure_ascii=ascii) + "\n" for one in objects), "utf-8", newline="\n")
    read = [example.model_dump(mode="json") for example in read_examples(file, method_of(shape))]
    assert read == objects
    if len({one.get("label") for one in objects}) > 1 or "label" not in objects[0]:
        report = check_dataset(file, method_of(shape))
        assert (report.shape, report.examples) == (shape, len(objects))
        assert report.sha256 == sha256(file.read_bytes()).hexdigest()
        assert sum(report.labels.values()) == (len(objects) if "label" in objects[0] else 0)


@given(data=st.data(), shape=st.sampled_from(Shape), method=st.sampled_from(TuningMethod))
def test_no_bytes_raise_anything_else(file: Path, data: st.DataObject, shape: Shape, method: TuningMethod) -> None:
    objects = data.draw(st.lists(written(shape, data.draw(st.booleans())), max_size=3))
    content = bytearray("\n".join(map(json.dumps, objects)).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 3))
        content[start:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b"\\ud800", b"[", b"{", b"\n", b'"']))
    file.write_bytes(bytes(content))
    for read in (lambda: check_dataset(file, method), lambda: list(read_examples(file, method))):
        try:
            read()
        except DatasetError as error:
            assert str(file) in error.message
            assert error.hint


GOOD = {"text": "I love it.", "label": "good"}
BAD = {"text": "I hate it.", "label": "bad"}
USER = {"role": "user", "content": "Hello"}
REPLY = {"role": "assistant", "content": "Hi"}


def chat(*messages: object) -> dict[str, object]:
    return {"messages": list(messages)}


@pytest.mark.parametrize(
    ("method", "line", "what", "way_out"),
    [
        ("full", '{"prompt": "a", "completion": "b"', "no JSON: Expecting ',' delimiter at character 34", "one JSON"),
        ("full", "[1, 2]", "holds [1, 2]", "without an array"),
        ("full", '{"prompt": "a", "prompt": "b"}', "the key 'prompt' stands twice", "keep one"),
        ("full", "[" * 100_000, "no JSON that can be read", "one JSON object"),
        ("full", '{"text": ' + "9" * 5000 + "}", "no JSON that can be read", "one JSON object"),
        ("full", {"prompt": "a", "complection": "b"}, "unknown key 'complection'", "did you mean 'completion'?"),
        ("full", {"prompt": "a", "completion": "b", "id": "7"}, "unknown key 'id'", "leave it out"),
        ("full", {"prompt": "a"}, "the key 'completion' is missing", '{"prompt", "completion"}'),
        ("full", {"prompt": "a", "completion": " \n"}, "'completion' is empty", "leave the line out"),
        ("full", {"prompt": "a", "completion": 5}, "'completion' is 5", "a text in quotes"),
        ("full", {"prompt": [USER], "completion": "b"}, "'completion' is 'b'", "a list of messages"),
        ("full", '{"prompt": "a", "completion": "\\ud800"}', "'\\ud800' is half of a", "the whole pair"),
        ("full", {"prompt": "a", "chosen": "b", "rejected": "c"}, "holds preference pairs", "it takes messages"),
        ("full", chat(), "'messages' holds no message", "end with the assistant's"),
        ("full", chat(USER), "'messages' ends with the user's message", "end with the assistant's"),
        ("full", chat(USER, USER, REPLY), "message 2 is the user's, expected is the assistant's", "take turns"),
        ("full", chat(USER, {"role": "asistant", "content": "x"}), "'role' of message 2", "mean 'assistant'?"),
        ("full", chat(USER, {"role": "assistant"}), "'content' of message 2 of 'messages' is missing", '{"role"'),
        ("full", chat(USER, {**REPLY, "text": "x"}), "unknown key 'text' of message 2", '{"role"'),
        ("full", chat(USER, "Hi"), "message 2 of 'messages' is 'Hi'", "write a message as"),
        ("full", chat(USER, {**REPLY, "content": ""}), "message 2 is empty", "write a text"),
        ("full", chat(USER, {"role": "tool", "content": "x"}), "message 2 is of a tool", "leave conversations with"),
        ("dpo", {"prompt": "a", "chosen": "b", "rejected": "b"}, "'chosen' and 'rejected' are the same", "leave the"),
        ("dpo", {"chosen": "b", "rejected": "c"}, "the key 'prompt' is missing", '{"prompt", "chosen", "rejected"}'),
        ("kto", {"prompt": "a", "completion": "b", "label": 1}, "'label' is 1", "true or false"),
        ("ppo", {"prompts": "a"}, "unknown key 'prompts'", "did you mean 'prompt'?"),
        ("feature_based", {"text": "a", "label": 1}, "'label' is 1", "a text in quotes"),
    ],
)
def test_a_wrong_line_is_told_with_its_place(
    tmp_path: Path, method: str, line: object, what: str, way_out: str
) -> None:
    file = put(tmp_path / "train.jsonl", "", line)
    with pytest.raises(DatasetError) as caught:
        check_dataset(file, TuningMethod(method))
    assert caught.value.message.startswith(f"{file}:2: ")
    assert what in caught.value.message
    assert way_out in (caught.value.hint or "")


def test_a_file_is_not_what_it_should_be(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"

    def told(method: str = "feature_based") -> str:
        with pytest.raises(DatasetError) as caught:
            check_dataset(file, TuningMethod(method))
        return str(caught.value)

    assert "cannot be read: No such file" in told()
    file.write_bytes(b"\n\n")
    assert 'holds no examples\n  -> write one a line: labelled text {"text", "label"}' in told()
    file.write_bytes(b'{"text": "caf\xe9", "label": "x"}\n')
    assert ":1: byte 14 (e9) is no UTF-8" in told()
    put(file, GOOD, GOOD | {"text": "Fine."})
    assert "every label is 'good'\n  -> add examples of another label" in told()
    put(file, {"prompt": "a", "completion": "b", "label": True})
    assert "every label is 'true'" in told("kto")
    put(file, GOOD, {"prompt": "a", "completion": "b"})
    assert ":2: holds prompt and completion as texts, line 1 labelled text" in told("lora")
    put(file, {"prompt": "a", "completion": "b"}, {"prompt": [USER], "completion": [REPLY]})
    assert ":2: holds prompt and completion with messages, line 1 prompt and completion as texts" in told("lora")
    file.write_bytes(b'"' + b"x" * (MAX_LINE + 10))
    assert ":1: the line has more than 16 MiB" in told()
    file.unlink()
    file.mkdir()
    assert "cannot be read: Is a directory" in told()


def test_ten_problems_are_told_at_a_time(tmp_path: Path) -> None:
    file = put(tmp_path / "train.jsonl", GOOD, *[{"text": "", "label": ""}] * 3, BAD)
    with pytest.raises(DatasetError) as caught:
        check_dataset(file, TuningMethod.FULL)
    assert caught.value.message.startswith(f"{file}: 6 problems\n  {file}:2: 'text' is empty; ")
    assert len(caught.value.value) == 6  # type: ignore[arg-type]
    put(file, GOOD, *[{"text": "", "label": ""}] * 30, BAD)
    with pytest.raises(DatasetError, match=f"the first {PROBLEMS} problems") as caught:
        check_dataset(file, TuningMethod.FULL)
    assert len(caught.value.value) == PROBLEMS  # type: ignore[arg-type]


def test_a_good_file_is_counted_and_what_is_odd_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, [GOOD, BAD, GOOD])).encode())
    report = check_dataset(file, TuningMethod.FEATURE_BASED)
    assert (report.examples, report.messages, report.labels) == (3, False, {"good": 2, "bad": 1})
    assert report.characters == 2 * len("I love it.good") + len("I hate it.bad")
    assert report.warnings == (
        "1 examples stand in the file before (lines 3); they count the more",
        "the label 'bad' has one example; none can be held out",
    )
    put(file, chat({"role": "system", "content": "Be kind."}, USER, REPLY))
    report = check_dataset(file, TuningMethod.LORA)
    assert (report.messages, report.characters, report.warnings) == (True, len("Be kind.HelloHi"), ())
