"""`enginebay eval`: tasks of EleutherAI's lm-evaluation-harness on any engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli import _engine
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.evaluation.report import EvaluationReport

app = typer.Typer()


@app.command(name="eval")
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A configured generator, or a model: catalogue name, path, hf:…")
    ] = None,
    tasks: Annotated[
        str, typer.Option("--tasks", "-t", help="Tasks, with commas: task files, shipped tasks, the harness's own.")
    ] = "",
    limit: Annotated[int | None, typer.Option(help="Most items of each task.", min=1)] = None,
    num_fewshot: Annotated[int | None, typer.Option(help="Worked examples in front of each item.", min=0)] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put items into the model's chat template.")] = False,
    backend: _engine.Backend = None,
    device: _engine.DeviceOption = None,
    context_length: _engine.ContextLength = None,
    option: _engine.Options = None,
    config: _engine.Config = None,
    profile: _engine.Profile = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write the report there, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Evaluate a model by tasks; the backend is one that scores texts, where a task needs it.

    Without --tasks the names of the tasks that come with enginebay are printed.
    """
    from enginebay.evaluation.loading import load_tasks, shipped_tasks

    if model is None or not tasks:
        if tasks:
            raise ConfigError("no model is named", hint=f"name one: enginebay eval MODEL --tasks {tasks}")
        out.print("\n".join(shipped_tasks()))
        return
    from enginebay.cli._jobs import JobBar
    from enginebay.evaluation.harness import evaluate
    from enginebay.paths import write_whole

    with JobBar() as bar:
        bar.tell("loading tasks …")
        loaded = load_tasks([name.strip() for name in tasks.split(",") if name.strip()], fewshot=num_fewshot)
    needed: dict[str, Any] = {"features": ["scoring"]} if loaded.need_scoring else {}
    bay, handle = _engine.open_generator(
        generator=model,
        model=None,
        backend=backend,
        device=device,
        context_length=context_length,
        options=option,
        system=None,
        config=config,
        profile=profile,
        **needed,
    )
    with bay, JobBar() as bar:
        report = evaluate(handle, loaded, limit=limit, chat=chat, events=bar.event)
    if output is not None:
        write_whole(output, (report.model_dump_json(indent=2) + "\n").encode())
    if as_json:
        print_json(report)
    else:
        _print(report)
    if output is not None:
        err.print(f"[dim]written to {output}[/]", soft_wrap=True)


def _print(report: EvaluationReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{report.model} ({report.weights or 'unknown weights'})"))
    for heading in ("task", "metric"):
        table.add_column(heading)
    for heading in ("value", "± stderr", "items", "examples", ""):
        table.add_column(heading, justify="right")
    for task in report.tasks:
        items = f"{task.samples}/{task.items}"
        for metric in task.metrics:
            name = metric.name if metric.filter == "none" else f"{metric.name} ({metric.filter})"
            table.add_row(
                escape(task.task),
                escape(name),
                f"{metric.value:.4f}",
                "" if metric.stderr is None else f"{metric.stderr:.4f}",
                items,
                str(task.fewshot),
                {True: "more is better", False: "less is better", None: ""}[metric.higher_is_better],
            )
    out.print(table)
    out.print(f"{report.backend} on {report.device}, {report.seconds:.0f} s", style="dim")
