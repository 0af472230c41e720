"""Quality reports as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from enginebay.evaluation.quality import Quality, QualityReport


def quality_table(report: QualityReport) -> Table:
    """One row for each model, the original first; all figures are in the report's JSON."""
    from rich.markup import escape
    from rich.table import Table

    rows = [report.original, *report.quantized]
    embedder = any(row.cosine_mean is not None for row in rows)
    tasks = sorted({name for row in rows for name in row.accuracy})
    table = Table(
        title=f"{escape(report.text)}, {report.tokens} tokens in windows of {report.window}",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("type", no_wrap=True)
    table.add_column("engine", no_wrap=True)
    quality = ("cosine", "least") if embedder else ("perpl.", "loss", "KL", "best")
    for heading in ("MB", "bits", "tok/s", "RAM", *quality, *tasks):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.problem:
            table.add_row(escape(row.type), f"[red]{escape(row.problem)}[/]")
            continue
        judged = _embedder_cells(row) if embedder else _generator_cells(row)
        accuracies = [f"{row.accuracy[name]:.3f}" if name in row.accuracy else "" for name in tasks]
        table.add_row(
            escape(row.type) if row is report.original else "  " + escape(_name(row, report)),
            row.backend,
            f"{row.bytes / 1e6:.0f}",
            f"{row.bits_per_weight:.2f}",
            f"{row.tokens_per_second:.1f}",
            f"{row.memory_bytes / 1e6:.0f}",
            *judged,
            *accuracies,
        )
    return table


def _name(row: Quality, report: QualityReport) -> str:
    """The type, and its quantizer where several make one of that name."""
    same = [other for other in report.quantized if other.type == row.type]
    return f"{row.quantizer}:{row.type}" if len(same) > 1 else row.type


def _embedder_cells(row: Quality) -> list[str]:
    return [_number(row.cosine_mean, ".4f"), _number(row.cosine_min, ".4f")]


def _generator_cells(row: Quality) -> list[str]:
    return [
        _number(row.perplexity, ".2f"),
        _number(row.perplexity_loss, "+.2%"),
        _number(row.kl_mean, ".4f"),
        _number(row.same_best, ".1%"),
    ]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
