"""The harness over a scripted engine, against figures computed by hand."""

from __future__ import annotations

import importlib
import logging
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from enginebay.errors import (
    BackendUnavailableError,
    ConfigError,
    FetchError,
    InvalidParameterError,
    JobError,
    UnsupportedFeatureError,
)
from enginebay.evaluation.adapter import GeneratorLM, sampling_of
from enginebay.evaluation.harness import evaluate
from enginebay.evaluation.loading import _load_named, load_tasks, shipped_tasks
from enginebay.evaluation.report import EvaluationReport
from enginebay.interfaces.jobs import JobEvent
from fake_engine import FakeGenerator
from scripted_scorer import ANSWERS, CHOICE_ROWS, CHOICES, TEXTS, WORDS, ScriptedScorer, scripted_handle, write_task


def test_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_task(tmp_path / "tasks", "letters", CHOICE_ROWS, CHOICES)
    monkeypatch.chdir(tmp_path)
    told: list[JobEvent] = []
    report = evaluate(scripted_handle(), ["tasks/letters.yaml"], events=told.append)
    (task,) = report.tasks
    assert (task.task, task.version, task.samples, task.items, task.fewshot) == ("letters", "3", 3, 3, 0)
    assert report.accuracy == {"letters acc": pytest.approx(1 / 3), "letters acc_norm": 1.0}
    assert task.metrics[0].stderr == pytest.approx(math.sqrt(2 / 9 / 2)), "sample deviation over sqrt(3)"
    assert (report.model, report.backend, report.device) == ("fake-model", "fake", "cpu")
    assert (told[-1].step, told[-1].steps) == (6, 6)
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report
    assert evaluate(scripted_handle(), [path], limit=1).value("letters", "acc_norm") == 1.0


def test_words_and_their_bootstrapped_error_leave_the_terminal_clean(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [{"before": "x", "word": "aa"}, {"before": "x", "word": "ab"}]
    path = write_task(tmp_path, "words", rows, WORDS)
    report = evaluate(scripted_handle(), [path])
    assert capfd.readouterr() == ("", "")
    assert report.value("words", "perplexity") == pytest.approx(math.exp((1.0 + 1.5) / 2))
    assert report.value("words", "acc") == 0.5, "greedy decoding writes 'aa' and not 'ab'"
    assert report.tasks[0].metrics[0].stderr == pytest.approx(math.exp(1.25) * 0.25 / math.sqrt(2), rel=0.2)


def test_what_the_application_has_set_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm

    before = (vars(tqdm)["__init__"], sys.stdout, logging.getLogger("lm_eval").level)
    rows = [CHOICE_ROWS[0], {"question": "x", "choices": [], "answer": 0}]
    path = write_task(tmp_path, "broken", rows, CHOICES)
    with pytest.raises(JobError, match="the harness failed"):
        evaluate(scripted_handle(), [path])
    assert (vars(tqdm)["__init__"], sys.stdout, logging.getLogger("lm_eval").level) == before
    print("seen")
    assert capsys.readouterr().out == "seen\n"


def test_whole_texts_with_the_first_token_after_the_begin_token(tmp_path: Path) -> None:
    long = "b" * 300  # in a context of 128
    path = write_task(tmp_path, "texts", [{"text": "abc"}, {"text": long}], TEXTS)
    engine = ScriptedScorer()
    report = evaluate(scripted_handle(engine), [path])
    assert report.value("texts", "bits_per_byte") == pytest.approx((2.5 + 300) / 303 / math.log(2))
    assert engine.scored == ["^abc", "^" + "b" * 127, "b" * 128, "b" * 128]


def test_answers_end_where_the_task_says_and_only_the_task_decides_the_sampling(tmp_path: Path) -> None:
    rows = [{"question": "2+2=", "answer": "4"}, {"question": "2+3=", "answer": "5"}]
    path = write_task(tmp_path, "sums", rows, ANSWERS)
    engine = ScriptedScorer()
    handle = scripted_handle(engine, scores=False, defaults={"temperature": 0.9, "max_tokens": 1}, system="Be brief.")
    report = evaluate(handle, [path])
    assert report.value("sums", "exact_match") == 0.5
    params = engine.requests[0].params
    assert (params.temperature, params.max_tokens) == (0, 8)


def test_chat_templates(tmp_path: Path) -> None:
    path = write_task(tmp_path, "sums", [{"question": "2+2=", "answer": "4"}], ANSWERS)
    engine = ScriptedScorer()
    evaluate(scripted_handle(engine, system="Be brief."), [path], chat=True)
    assert [request.prompt for request in engine.requests] == ["[user]2+2=[assistant]"]
    begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    assert GeneratorLM(scripted_handle()).apply_chat_template(begun, add_generation_prompt=False) == (
        "[user]Hi[assistant]Well"
    )


def test_worked_examples(tmp_path: Path) -> None:
    rows = [{"question": str(place), "answer": "4"} for place in range(5)]
    path = write_task(tmp_path, "sums", rows, ANSWERS)
    engine = ScriptedScorer()
    report = evaluate(scripted_handle(engine), [path], limit=1, fewshot=2)
    assert report.tasks[0].fewshot == 2
    assert engine.requests[0].prompt.count("4\n\n") == 2
    assert engine.requests[0].prompt.endswith("0")


def test_white_space_before_a_continuation_is_counted_to_it() -> None:
    for between in (" ", "\n", "\n\n "):
        found = scripted_handle().log_likelihood("a", after=f"x{between}")
        assert found.tokens == len(between) + 1


def test_an_engine_that_does_not_score(tmp_path: Path) -> None:
    engine = FakeGenerator()
    sums = write_task(tmp_path, "sums", [{"question": "2+2=", "answer": "4"}], ANSWERS)
    letters = write_task(tmp_path, "letters", CHOICE_ROWS, CHOICES)
    with pytest.raises(UnsupportedFeatureError, match="'fake' does not score texts, which these tasks need: letters"):
        evaluate(scripted_handle(engine, scores=False), [sums, letters])
    assert engine.requests == [], "nothing has run"


def test_generation_arguments() -> None:
    assert sampling_of({"until": "\n", "max_gen_toks": 5}) == {"stop": ("\n",), "max_tokens": 5, "temperature": 0.0}
    assert sampling_of({"until": ["a", ""], "temperature": 0.7, "do_sample": False})["temperature"] == 0.0
    assert sampling_of({"do_sample": True, "top_p": 0.9}) == {
        "stop": (), "max_tokens": 256, "temperature": 1.0, "top_p": 0.9,
    }  # fmt: skip
    with pytest.raises(InvalidParameterError, match="arguments: num_beams, penalty_alpha"):
        sampling_of({"penalty_alpha": 0.5, "num_beams": 3})


def test_tasks_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no task file 'nowhere\.yaml'"):
        load_tasks(["nowhere.yaml"])
    with pytest.raises(ConfigError, match="no task is named"):
        load_tasks([])
    with pytest.raises(ConfigError, match=r"no task 'bay_sum'; did you mean 'bay_sums'"):
        load_tasks(["bay_sum"])
    path = Path(write_task(tmp_path, "letters", CHOICE_ROWS, CHOICES))
    path.with_suffix(".jsonl").unlink()
    with pytest.raises(ConfigError, match=r"no data file 'letters\.jsonl' beside the task"):
        load_tasks([str(path)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "does not load"),
        ("group: many\ntask: [a, b]\n", "no single task"),
        ("task: x\nnonsense: 1\n", "nonsense"),
        ("task: x\ndataset_path: json\n", "names no data_files"),
        ("[1, 2]", "does not load"),
    ],
)
def test_task_files_that_are_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        load_tasks([str(path)])
    assert caught.value.file == str(path.resolve())


def test_two_tasks_of_one_name_and_a_limit_of_none(tmp_path: Path) -> None:
    paths = [write_task(tmp_path / folder, "letters", CHOICE_ROWS, CHOICES) for folder in ("a", "b")]
    with pytest.raises(ConfigError, match="two of the tasks are called 'letters'"):
        load_tasks(paths)
    with pytest.raises(InvalidParameterError, match="limit of 0"):
        evaluate(scripted_handle(), paths[:1], limit=0)


def test_a_task_that_runs_what_the_model_writes(tmp_path: Path) -> None:
    path = write_task(tmp_path, "code", CHOICE_ROWS, CHOICES + "unsafe_code: true\n")
    with pytest.raises(UnsupportedFeatureError, match="runs code that the model writes"):
        load_tasks([path])


def test_data_that_do_not_come() -> None:
    class Offline:
        """Stands in for the harness's TaskManager on a machine without a network."""

        def load(self, names: list[str]) -> None:
            raise ConnectionError("Couldn't reach 'a/b' on the Hub\nand much more")

    with pytest.raises(FetchError, match=r"'hellaswag' or its data do not load: Couldn't reach .* on the Hub\n  -> "):
        _load_named(Offline(), "hellaswag")


def test_a_missing_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("lm_eval"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr("enginebay.libraries.import_module", without)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'enginebay\[eval\]'"):
        load_tasks(["bay_sums"])


def test_the_shipped_tasks_load_with_all_their_items() -> None:
    loaded = load_tasks(list(shipped_tasks())).loaded["tasks"]
    assert {name: len(task.eval_docs) for name, task in loaded.items()} == {
        "bay_knowledge": 50, "bay_sums": 40, "bay_text": 21,
    }  # fmt: skip
    for doc in loaded["bay_sums"].eval_docs:
        assert str(eval(doc["sum"])) == doc["result"]
    for doc in loaded["bay_knowledge"].eval_docs:
        assert len(set(doc["choices"])) == 4
        assert 0 <= doc["answer"] < 4
