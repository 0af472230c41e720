"""Evaluating any generator by EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any

from enginebay._version import __version__
from enginebay.errors import EnginebayError, InvalidParameterError, JobError, UnsupportedFeatureError
from enginebay.evaluation.loading import EXTRA, LoadedTasks, load_tasks
from enginebay.evaluation.report import EvaluationReport, Metric, TaskReport
from enginebay.interfaces.jobs import Events
from enginebay.libraries import load
from enginebay.sampling.plan import given_features
from enginebay.spec import Feature

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle

RESAMPLES = 1000
"""Bootstrap resamples for standard errors of metrics that have no closed form."""


def evaluate(
    handle: GeneratorHandle,
    tasks: Sequence[str] | LoadedTasks,
    *,
    limit: int | None = None,
    fewshot: int | None = None,
    chat: bool = False,
    events: Events = lambda event: None,
) -> EvaluationReport:
    """Evaluate an open generator.

    The sampling parameters and the system prompt that are configured for it do not count.

    Args:
        tasks: names and paths as `load_tasks` takes them, or what it gave.
        limit: most items of each task, the first ones; None takes all.
        fewshot: worked examples in front of each item; for tasks that are named, see `load_tasks`.
        chat: put items into the model's chat template.
        events: told of each request that is done.

    Raises:
        BackendUnavailableError, ConfigError, FetchError: see `load_tasks`.
        InvalidParameterError: a limit below 1, or a task has generation arguments that nobody knows.
        UnsupportedFeatureError: a task needs log-likelihoods and the engine does not score; nothing has run then. Or
            the model has no chat template.
        ContextLengthError: an item does not fit into the context.
        JobError: the harness failed.
        GenerationError: the engine failed.
    """
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"a limit of {limit} items leaves none", value=limit)
    evaluator = load("lm_eval.evaluator", EXTRA)
    from enginebay.evaluation.adapter import GeneratorLM
    from enginebay.evaluation.quiet import quietly

    if not isinstance(tasks, LoadedTasks):
        tasks = load_tasks(tasks, fewshot=fewshot)
    _check_scores(handle, tasks)
    started = time.perf_counter()
    try:
        with quietly():
            results = evaluator.evaluate(
                lm=GeneratorLM(handle, events),
                task_dict=tasks.loaded,
                limit=limit,
                bootstrap_iters=RESAMPLES,
                log_samples=False,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
            )
    except EnginebayError:
        raise
    except Exception as error:
        raise JobError(f"the harness failed: {type(error).__name__}: {error}") from error
    return EvaluationReport(
        model=handle.model.reference,
        weights=handle.model.quantization,
        backend=handle.spec.name,
        device=handle.device,
        context_length=handle.context_length,
        created=datetime.now(UTC),
        seconds=time.perf_counter() - started,
        limit=limit,
        chat=chat,
        versions={"enginebay": __version__, "lm_eval": load("lm_eval", EXTRA).__version__},
        tasks=tuple(_task_report(name, results) for name in results["results"]),
    )


def _check_scores(handle: GeneratorHandle, tasks: LoadedTasks) -> None:
    if tasks.need_scoring and Feature.SCORING not in given_features(handle.spec):
        raise UnsupportedFeatureError(
            f"the backend {handle.spec.name!r} does not score texts, which these tasks need: "
            f"{', '.join(tasks.need_scoring)}",
            value=handle.spec.name,
            hint="open the model for it: bay.generator(…, features=['scoring'])",
        )


def _task_report(name: str, results: Mapping[str, Any]) -> TaskReport:
    row = results["results"][name]
    counts = results["n-samples"].get(name, {})
    better = results["higher_is_better"].get(name, {})
    metrics = []
    for key, value in row.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, Real):
            continue
        error = row.get(f"{metric}_stderr,{filtered}")
        metrics.append(
            Metric(
                name=metric,
                filter=filtered,
                value=float(value),
                stderr=float(error) if isinstance(error, Real) else None,
                higher_is_better=better.get(metric),
            )
        )
    return TaskReport(
        task=name,
        version=str(results["versions"].get(name, "")),
        samples=counts.get("effective", row.get("sample_len", 0)),
        items=counts.get("original", row.get("sample_len", 0)),
        fewshot=results["n-shot"].get(name, 0),
        metrics=tuple(metrics),
    )
