"""What an evaluation gave."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from enginebay.spec import FrozenModel


class Metric(FrozenModel):
    """One figure of a task.

    Attributes:
        name: as the harness calls it: acc, acc_norm, exact_match, bits_per_byte, …
        filter: what was done to the answers before they were judged; "none" for nothing.
        value: the figure.
        stderr: its standard error; None where the harness knows none.
        higher_is_better: None where the task does not say.
    """

    name: str
    filter: str
    value: float
    stderr: float | None
    higher_is_better: bool | None


class TaskReport(FrozenModel):
    """One task, or one group of tasks.

    Attributes:
        task: its name.
        version: the version of the task, as its file says; figures of two versions do not compare.
        samples: items that were evaluated.
        items: items that the task has.
        fewshot: worked examples in front of each item.
    """

    task: str
    version: str
    samples: int
    items: int
    fewshot: int
    metrics: tuple[Metric, ...]


class EvaluationReport(FrozenModel):
    """What tasks made of one model on one engine.

    Attributes:
        model: its reference.
        weights: what its weights are stored as.
        backend, device: what ran it.
        context_length: tokens that one sequence could hold.
        created: when.
        seconds: how long it took, the model already open.
        limit: most items of each task; None for all.
        chat: items were put into the model's chat template.
        versions: of enginebay and of the harness.
        tasks: in the order in which they were named.
    """

    model: str
    weights: str
    backend: str
    device: str
    context_length: int
    created: datetime
    seconds: float
    limit: int | None
    chat: bool
    versions: Mapping[str, str]
    tasks: tuple[TaskReport, ...]

    @property
    def accuracy(self) -> dict[str, float]:
        """Figures of which more is better, by "task metric"; of the first filter, where there are several."""
        found: dict[str, float] = {}
        for one in self.tasks:
            for each in one.metrics:
                if each.higher_is_better:
                    found.setdefault(f"{one.task} {each.name}", each.value)
        return found

    def value(self, task: str, metric: str) -> float:
        """The figure of a task, of its first filter.

        Raises:
            KeyError: there is no such task or metric in the report.
        """
        for one in self.tasks:
            for each in one.metrics:
                if (one.task, each.name) == (task, metric):
                    return each.value
        raise KeyError(f"{task}: {metric}")
