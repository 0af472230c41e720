"""A picture of what quantising cost and gained: size against quality."""

from __future__ import annotations

from pathlib import Path

from enginebay.errors import BackendUnavailableError, JobError
from enginebay.evaluation.quality import Quality, QualityReport

INSTALL = "pip install 'enginebay[plots]'"


def draw(report: QualityReport, output: Path) -> None:
    """Draw the weights' size against perplexity (for embedders, cosine similarity), one point for each model.

    Args:
        output: file to write; its suffix says the kind: .png, .svg, .pdf.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        JobError: the suffix is no kind of picture, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailableError(
            f"pictures need matplotlib: {error}", value="matplotlib", hint=f"install it: {INSTALL}"
        ) from error
    embedder = report.original.perplexity is None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    points = [(row, _height(row, embedder)) for row in (report.original, *report.quantized)]
    placed = [(row, row.bytes / 1e6, height) for row, height in points if height is not None]
    for backend in dict.fromkeys(row.backend for row, _, _ in placed):
        own = [(size, height) for row, size, height in placed if row.backend == backend]
        axes.scatter([size for size, _ in own], [height for _, height in own], label=backend)
    for row, size, height in placed:
        name = (
            f"{row.type} (original)"
            if row is report.original
            else (row.type if not row.quantizer else f"{row.quantizer}:{row.type}")
        )
        axes.annotate(name, (size, height), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("weights (MB)")
    axes.set_ylabel(
        "mean cosine similarity to the original" if embedder else f"perplexity of {report.text} (less is better)"
    )
    axes.set_title(f"{Path(report.original.reference).name}: size and quality")
    axes.grid(alpha=0.3)
    axes.legend(title="engine")
    beside = output.with_name(f".{output.stem}.part{output.suffix}")
    try:
        figure.savefig(beside, dpi=150)
        beside.replace(output)
    except (OSError, ValueError) as error:
        raise JobError(f"cannot draw {output}: {error}", value=str(output), hint="name a .png, .svg or .pdf") from error
    finally:
        beside.unlink(missing_ok=True)


def _height(row: Quality, embedder: bool) -> float | None:
    if not embedder:
        return row.perplexity
    return row.cosine_mean if row.cosine_mean is not None else (1.0 if not row.problem else None)
