"""Finding tasks: files of one's own, those that come with enginebay, and the harness's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from enginebay.errors import ConfigError, EnginebayError, FetchError, UnsupportedFeatureError
from enginebay.libraries import load
from enginebay.paths import cache_dir
from enginebay.suggest import did_you_mean

EXTRA = "eval"

SEED = 1234
"""Seed by which examples of few-shot tasks are drawn; the harness's own default."""


FILE_KINDS = ("json", "csv", "parquet", "text")
"""What `dataset_path` says of data that stand in files; their names are relative to the task's file."""


@dataclass(frozen=True, slots=True)
class LoadedTasks:
    """Tasks with their data.

    Attributes:
        loaded: tasks and groups as the harness's `TaskManager.load` gives them.
    """

    loaded: Mapping[str, Mapping[str, Any]]

    @property
    def need_scoring(self) -> tuple[str, ...]:
        """Names of those that need log-likelihoods."""
        return tuple(name for name, task in self.loaded["tasks"].items() if task.OUTPUT_TYPE != "generate_until")


def shipped_tasks() -> dict[str, Path]:
    """Name -> file of the tasks that come with enginebay, with their data."""
    folder = Path(str(files("enginebay") / "evaluation" / "tasks"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_tasks(names: Sequence[str], *, fewshot: int | None = None) -> LoadedTasks:
    """Load tasks and their data.

    Args:
        names: paths of task files, names of `shipped_tasks`, or of the harness's own tasks, groups and tags.
        fewshot: worked examples in front of each item, for tasks that do not fix it at 0; None leaves it to the task.

    Raises:
        BackendUnavailableError: the harness is not installed.
        ConfigError: there is no such task, or its file or data are wrong.
        FetchError: the data of one of the harness's tasks do not come.
        UnsupportedFeatureError: a task runs code that the model writes, or needs pictures or sound.
    """
    if not names:
        raise ConfigError("no task is named", hint=f"name some: {', '.join(shipped_tasks())}, or a task file")
    manager_of = load("lm_eval.tasks", EXTRA).TaskManager
    from enginebay.evaluation.quiet import quietly

    local = {name: path for name in dict.fromkeys(names) if (path := _local(name)) is not None}
    with quietly():
        # Reading the harness's own task files takes seconds.
        manager = manager_of(include_defaults=len(local) < len(set(names)))
        known = {*manager.all_tasks, *shipped_tasks()}
        parts = []
        for name in dict.fromkeys(names):
            if name in local:
                parts.append(_load_file(local[name]))
            elif name in known:
                parts.append(_load_named(manager, name))
            else:
                raise ConfigError(f"there is no task {name!r}; {did_you_mean(name, known)}", value=name)
        loaded = {kind: _merged(parts, kind) for kind in ("tasks", "groups", "group_map")}
        for name, task in loaded["tasks"].items():
            _prepare(name, task, fewshot)
    return LoadedTasks(loaded)


def _local(name: str) -> Path | None:
    """The file that a name stands for, if it is a path or a shipped task."""
    if name in (shipped := shipped_tasks()):
        return shipped[name]
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        return None
    if not path.is_file():
        raise ConfigError(f"there is no task file {name!r}", value=name)
    return path.resolve()


def _load_named(manager: Any, name: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        loaded: Mapping[str, Mapping[str, Any]] = manager.load([name])
    except Exception as error:
        raise FetchError(
            f"the task {name!r} or its data do not load: {_first_line(error)}",
            value=name,
            hint="the data of the harness's tasks come from the network; a task file can have them beside it",
        ) from error
    return loaded


def _load_file(path: Path) -> Mapping[str, Mapping[str, Any]]:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        config = load_yaml(path)
        if not isinstance(config.get("task"), str):
            raise ConfigError("the file describes no single task: 'task' is no name", file=str(path))
        for key in ("tag", "group", "task_list"):
            config.pop(key, None)
        if config.get("dataset_path") in FILE_KINDS:
            config["dataset_kwargs"] = _beside(path, config.get("dataset_kwargs") or {})
        task = ConfigurableTask(config=config)
    except EnginebayError:
        raise
    except Exception as error:
        raise ConfigError(f"the task does not load: {_first_line(error)}", file=str(path)) from error
    return {"tasks": {task.task_name: task}}


def _beside(task_file: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `datasets.load_dataset` with data files that are relative to the task's file."""

    def absolute(given: Any) -> Any:
        if isinstance(given, Mapping):
            return {split: absolute(one) for split, one in given.items()}
        if isinstance(given, list):
            return [absolute(one) for one in given]
        if "://" in given:
            return given
        path = task_file.parent / Path(given).expanduser()
        if not path.is_file() and "*" not in path.name:
            raise ConfigError(f"there is no data file {given!r} beside the task", value=str(path), file=str(task_file))
        return str(path)

    if "data_files" not in arguments:
        raise ConfigError(
            "the task reads its data from files, but dataset_kwargs names no data_files", file=str(task_file)
        )
    folder = {"cache_dir": str(cache_dir() / "datasets")}
    return folder | dict(arguments) | {"data_files": absolute(arguments["data_files"])}


def _merged(parts: Sequence[Mapping[str, Mapping[str, Any]]], kind: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, one in part.get(kind, {}).items():
            if name in merged:
                raise ConfigError(f"two of the tasks are called {name!r}", value=name, hint="evaluate them one by one")
            merged[name] = one
    return merged


def _prepare(name: str, task: Any, fewshot: int | None) -> None:
    """Refuse what cannot run here, and settle the examples as the harness's own command does."""
    if getattr(task, "UNSAFE_CODE", False):
        raise UnsupportedFeatureError(f"the task {name!r} runs code that the model writes", value=name)
    if getattr(task, "MULTIMODAL", False):
        raise UnsupportedFeatureError(f"the task {name!r} needs a model of pictures or sound", value=name)
    fixed = task.get_config("num_fewshot")
    if fewshot is not None and fixed != 0:
        task.set_config(key="num_fewshot", value=fewshot)
    elif fixed is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEED)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
