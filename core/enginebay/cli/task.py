"""`enginebay task`: summarise, translate, classify, extract, answer from documents, continue a text."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from enginebay.cli import _engine
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError, PromptError

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.prompts.library import PromptLibrary
    from enginebay.tasks.answers import Answer

app = typer.Typer(help="Do a task with a model: summarise, translate, classify, extract, answer, complete.")
Task = Callable[["GeneratorHandle", "PromptLibrary", dict[str, Any]], "Answer"]

PASSAGE_TOKENS = 200
"""Size of the passages that documents are cut into."""

Text = Annotated[str | None, typer.Argument(help='The text; "-" or nothing reads stdin.')]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback(invoke_without_command=True)
def list_tasks(context: typer.Context) -> None:
    """List the tasks."""
    if context.invoked_subcommand is not None:
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    group: Any = context.command
    for name in group.list_commands(context):
        table.add_row(f"[bold]{name}[/]", group.get_command(context, name).get_short_help_str(100))
    out.print(table)


def _shared(
    generator: _engine.Generator = None,
    model: _engine.Model = None,
    backend: _engine.Backend = None,
    device: _engine.DeviceOption = None,
    context_length: _engine.ContextLength = None,
    option: _engine.Options = None,
    system: _engine.System = None,
    config: _engine.Config = None,
    profile: _engine.Profile = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", "-n", help="Most tokens of the answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what ran where and how fast.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """The options that every task has."""


def _with_engine(command: Callable[..., Task]) -> Callable[..., None]:
    """Give a command the shared options. It returns what to do with the engine, which is opened after it."""
    shared = inspect.signature(_shared, eval_str=True)
    own = inspect.signature(command, eval_str=True)

    @wraps(command)
    def wrapped(**given: Any) -> None:
        flags = {name: given.pop(name) for name in shared.parameters}
        _perform(command(**given), **flags)

    parameters = [*own.parameters.values(), *shared.parameters.values()]
    wrapped.__dict__["__signature__"] = inspect.Signature(
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _perform(
    task: Task,
    *,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    verbose: bool,
    as_json: bool,
    option: list[str] | None,
    **engine: Any,
) -> None:
    from enginebay.cli.generate import describe
    from enginebay.prompts.library import PromptLibrary

    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    bay, handle = _engine.open_generator(options=option, **engine)
    with bay:
        library = PromptLibrary(plugin_templates=bay.plugins.prompt_templates)
        answer = task(handle, library, {name: value for name, value in given.items() if value is not None})
        if as_json:
            print_json(_as_json(answer))
        else:
            sys.stdout.write(_shown(answer) + "\n")
            for note in _notes(answer):
                err.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
        if verbose:
            for result in answer.results:
                err.print(describe(result))


@app.command()
@_with_engine
def complete(text: Text = None) -> Task:
    """Continue a text as it stands, without a chat template."""
    from enginebay import tasks

    prompt = _engine.read_prompt(text)
    return lambda handle, library, sampling: tasks.complete(handle, prompt, **sampling)


@app.command()
@_with_engine
def summarise(
    text: Text = None,
    words: Annotated[int | None, typer.Option(help="Length to ask for.", min=1)] = None,
    focus: Annotated[str, typer.Option(help="What matters, such as 'the costs'.")] = "",
) -> Task:
    """Summarise a text of any length."""
    from enginebay import tasks

    prompt = _engine.read_prompt(text)
    return lambda handle, library, sampling: tasks.summarise(
        handle, prompt, words=words, focus=focus, library=library, **sampling
    )


@app.command()
@_with_engine
def translate(
    text: Text = None,
    *,
    to: Annotated[str, typer.Option(help="Language to translate into.")],
    source: Annotated[str | None, typer.Option("--from", help="Language of the text.")] = None,
) -> Task:
    """Translate a text."""
    from enginebay import tasks

    prompt = _engine.read_prompt(text)
    return lambda handle, library, sampling: tasks.translate(
        handle, prompt, to, source=source, library=library, **sampling
    )


@app.command()
@_with_engine
def classify(
    text: Text = None,
    *,
    label: Annotated[list[str], typer.Option(help="A label, or LABEL=MEANING; repeatable.")],
    instruction: Annotated[str, typer.Option(help="What the labels are about.")] = "",
) -> Task:
    """Give a text one of several labels."""
    from enginebay import tasks

    parted = [one.partition("=") for one in label]
    meanings = {name: meaning for name, _, meaning in parted}
    if len(meanings) < len(label):
        raise ConfigError("a --label is given twice", value=label)
    prompt = _engine.read_prompt(text)
    return lambda handle, library, sampling: tasks.classify(
        handle, prompt, meanings, instruction=instruction, library=library, **sampling
    )


@app.command()
@_with_engine
def extract(
    text: Text = None,
    *,
    schema: Annotated[Path, typer.Option(help="File with the JSON schema of the data.")],
    instruction: Annotated[str, typer.Option(help="What else to say about it.")] = "",
) -> Task:
    """Extract data under a JSON schema, as JSON."""
    from enginebay import tasks

    described = _read_schema(schema)
    prompt = _engine.read_prompt(text)
    return lambda handle, library, sampling: tasks.extract_json(
        handle, prompt, described, instruction=instruction, library=library, **sampling
    )


@app.command()
@_with_engine
def answer(
    text: Text = None,
    *,
    document: Annotated[list[Path], typer.Option(help="Text file to answer from; repeatable.")],
) -> Task:
    """Answer a question from documents, with citations."""
    from enginebay import tasks

    documents = [(str(file), _read(file)) for file in document]
    question = _engine.read_prompt(text)

    def task(handle: GeneratorHandle, library: PromptLibrary, sampling: dict[str, Any]) -> Answer:
        passages = [passage for name, content in documents for passage in _passages(handle, name, content)]
        return tasks.answer_with_citations(handle, question, passages, library=library, **sampling)

    return task


@app.command()
def prompts(
    name: Annotated[str | None, typer.Argument(help="Prompt file to print.")] = None, as_json: AsJson = False
) -> None:
    """List the prompt files and where each comes from, or print one."""
    from enginebay.cli._plugins import configured_plugins
    from enginebay.prompts.library import PromptLibrary

    library = PromptLibrary(plugin_templates=lambda: configured_plugins().prompt_templates())
    if name is not None:
        found = library.find(name)
        if as_json:
            print_json(asdict(found))
        else:
            sys.stdout.write(found.source if found.source.endswith("\n") else found.source + "\n")
        return
    files = [library.find(one) for one in library.names()]
    if as_json:
        print_json([asdict(file) for file in files])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("prompt", "from", "file"):
        table.add_column(heading, overflow="fold")
    for file in files:
        table.add_row(f"[bold]{escape(file.name)}[/]", file.origin.value, escape(file.file))
    out.print(table)
    out.print(f"[dim]your own go into {escape(str(library.folder))}[/]", soft_wrap=True)


def _shown(answer: Answer) -> str:
    from enginebay.tasks.answers import Classification, Extraction

    if isinstance(answer, Classification):
        return answer.label
    if isinstance(answer, Extraction):
        return json.dumps(answer.value, ensure_ascii=False, indent=2)
    return answer.text


def _notes(answer: Answer) -> list[str]:
    """What a reader of the bare answer should know besides."""
    from enginebay.interfaces.generator import FinishReason
    from enginebay.tasks.answers import CitedAnswer, Summary

    notes = []
    if isinstance(answer, CitedAnswer):
        sources = {citation.number: citation.id for citation in answer.citations}
        notes += [f"[{number}] {sources[number]}" for number in sorted(sources)]
        notes += [f"[{number}] is no passage: the model made it up" for number in answer.unknown]
    if isinstance(answer, Summary):
        notes += [f"round {place}: {count} pieces" for place, count in enumerate(answer.pieces, start=1)]
    if answer.left_out:
        names = ", ".join(getattr(part, "id", "") or "?" for part in answer.left_out)
        notes.append(f"left out, for the context had no room: {names}")
    if answer.results[-1].finish_reason is FinishReason.LENGTH:
        notes.append("the answer was cut off: raise --max-tokens")
    return notes


def _as_json(answer: Answer) -> dict[str, Any]:
    from enginebay.cli.generate import result_as_json

    fields = {name: value for name, value in vars(answer).items() if name not in ("results", "left_out", "citations")}
    return {
        **fields,
        **({"citations": [asdict(one) for one in answer.citations]} if hasattr(answer, "citations") else {}),
        "left_out": list(answer.left_out),
        "usage": asdict(answer.usage),
        "results": [result_as_json(result) for result in answer.results],
    }


def _passages(handle: GeneratorHandle, name: str, content: str) -> list[dict[str, str]]:
    from enginebay.prompts.splitting import split_text

    limit = max(1, min(PASSAGE_TOKENS, handle.context_length // 4))
    pieces = split_text(content, lambda piece: len(handle.tokenize(piece)), limit)
    return [{"id": f"{name}#{place}", "text": piece.strip()} for place, piece in enumerate(pieces, 1) if piece.strip()]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read {file}: {error}", value=str(file)) from error


def _read_schema(file: Path) -> dict[str, Any]:
    try:
        schema = json.loads(_read(file))
    except json.JSONDecodeError as error:
        raise ConfigError(f"no JSON: {error.msg}", file=str(file), line=error.lineno) from error
    if not isinstance(schema, dict):
        raise ConfigError("a JSON schema is an object", value=schema, file=str(file))
    return schema
