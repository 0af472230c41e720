"""`enginebay ask`: answer a question from an index, with the sources."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from enginebay.cli import _engine, _index
from enginebay.cli._output import err, out, print_json

if TYPE_CHECKING:
    from enginebay.retrieval import Quotation, SourcedAnswer
    from enginebay.tasks.driver import AnswerStream

app = typer.Typer()

_SHOWN = 160
"""Characters of a sentence that are shown again."""


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    limit: _index.Limit = 5,
    where: _index.Where = None,
    mode: _index.Mode = None,
    min_similarity: Annotated[
        float | None,
        typer.Option("--min-similarity", help="Cosine below which nothing counts as relevant.", min=-1, max=1),
    ] = None,
    name: _index.Name = None,
    store: _index.Store = None,
    embedder: _index.Embedder = None,
    generator: _engine.Generator = None,
    model: _engine.Model = None,
    backend: _engine.Backend = None,
    device: _engine.DeviceOption = None,
    context_length: _engine.ContextLength = None,
    option: _engine.Options = None,
    system: _engine.System = None,
    temperature: Annotated[float | None, typer.Option(help="0, which is the default, is greedy.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", "-n", help="Most tokens of the answer.")] = 256,
    config: _engine.Config = None,
    profile: _engine.Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Answer a question from an index; say from where each statement is.

    In a terminal the model's text is shown as it comes; the checked answer takes its place.
    """
    from enginebay.retrieval import stream_ask

    wanted = _index.parse_where(where)
    bay, handle = _engine.open_generator(
        generator=generator,
        model=model,
        backend=backend,
        device=device,
        context_length=context_length,
        options=option,
        system=system,
        config=config,
        profile=profile,
    )
    sampling: dict[str, Any] = {"max_tokens": max_tokens}
    if temperature is not None:
        sampling["temperature"] = temperature
    with bay:
        index = _index.open_index(bay, name, _index.changes(store, embedder))
        stream = stream_ask(
            index, handle, question, limit=limit, where=wanted, mode=mode, min_similarity=min_similarity, **sampling
        )
        with stream:
            answer = _watched(stream, shown=out.is_terminal and not as_json)
    if as_json:
        print_json(_as_json(answer))
    else:
        _print(answer)


def _watched(stream: AnswerStream[SourcedAnswer], *, shown: bool) -> SourcedAnswer:
    """The answer at the end of a stream; until then what the model writes is shown, or else that it works."""
    waiting = Spinner("dots", "answering …", style="status.spinner")
    with Live(waiting, console=out if shown else err, transient=True, refresh_per_second=12) as view:
        text = ""
        for piece in stream.texts():
            text += piece
            if shown:
                lines = Text(text).wrap(out, out.width)[1 - out.height :]
                view.update(Text("\n").join(lines))
    return stream.answer


def _print(answer: SourcedAnswer) -> None:
    from enginebay.interfaces.generator import FinishReason

    sys.stdout.write(answer.text + "\n")
    for one in answer.quotations:
        out.print(f"\n[bold]\\[{one.number}][/] {escape(_index.shown(one.where))}{_doubt(one)}", soft_wrap=True)
        out.print(Padding(Text(f"“{' '.join(one.text.split())}”", style="dim"), (0, 0, 0, 4), expand=False))
    if not answer.known:
        near = "" if answer.similarity is None else f"; the nearest passage has a similarity of {answer.similarity:.2f}"
        err.print(f"[dim]no model was asked{near}[/]")
        return
    for claim in answer.unsupported:
        text = claim.text if len(claim.text) <= _SHOWN else claim.text[:_SHOWN] + " …"
        err.print(f"[yellow]not found in the sources:[/] {escape(text)}", soft_wrap=True)
    dropped = sorted({number for claim in answer.claims for number in claim.dropped})
    if dropped:
        numbers = ", ".join(map(str, dropped))
        err.print(f"[dim]dropped the model's citations of passages that do not hold the statement: {numbers}[/]")
    if answer.results[-1].finish_reason is FinishReason.LENGTH:
        err.print("[dim]the answer was cut off: raise --max-tokens[/]")


def _doubt(one: Quotation) -> str:
    return "  [yellow](the file has changed since)[/]" if one.in_file is False else ""


def _as_json(answer: SourcedAnswer) -> dict[str, Any]:
    from enginebay.cli.generate import result_as_json
    from enginebay.cli.search import passage_as_json

    return {
        "text": answer.text,
        "known": answer.known,
        "similarity": answer.similarity,
        "claims": [asdict(claim) for claim in answer.claims],
        "quotations": [{**asdict(one), "where": one.where} for one in answer.quotations],
        "passages": [passage_as_json(passage) for passage in answer.passages],
        "left_out": [part.id for part in answer.left_out],
        "results": [result_as_json(result) for result in answer.results],
    }
