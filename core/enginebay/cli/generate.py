"""`enginebay generate`: one prompt, one answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli import _engine
from enginebay.cli._output import err, print_json
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result

app = typer.Typer()

SAMPLING = "Sampling"


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help='The prompt; "-" or nothing reads stdin.')] = None,
    generator: _engine.Generator = None,
    model: _engine.Model = None,
    backend: _engine.Backend = None,
    device: _engine.DeviceOption = None,
    context_length: _engine.ContextLength = None,
    option: _engine.Options = None,
    system: _engine.System = None,
    config: _engine.Config = None,
    profile: _engine.Profile = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as it stands, without a chat template.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.", rich_help_panel=SAMPLING)] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens.", rich_help_panel=SAMPLING)] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.", rich_help_panel=SAMPLING)] = None,
    min_p: Annotated[float | None, typer.Option(help="Least share of the best.", rich_help_panel=SAMPLING)] = None,
    repetition_penalty: Annotated[float | None, typer.Option(rich_help_panel=SAMPLING)] = None,
    presence_penalty: Annotated[float | None, typer.Option(rich_help_panel=SAMPLING)] = None,
    frequency_penalty: Annotated[float | None, typer.Option(rich_help_panel=SAMPLING)] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.", rich_help_panel=SAMPLING)] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", "-n", rich_help_panel=SAMPLING)] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends it; repeatable.", rich_help_panel=SAMPLING)
    ] = None,
    outputs: Annotated[
        int | None, typer.Option("--outputs", help="How many outputs.", rich_help_panel=SAMPLING)
    ] = None,
    logprobs: Annotated[int | None, typer.Option(help="Likeliest tokens to show.", rich_help_panel=SAMPLING)] = None,
    schema: Annotated[Path | None, typer.Option(help="JSON schema file to obey.", rich_help_panel=SAMPLING)] = None,
    grammar: Annotated[Path | None, typer.Option(help="GBNF grammar file to obey.", rich_help_panel=SAMPLING)] = None,
    regex: Annotated[str | None, typer.Option(help="Regular expression to obey.", rich_help_panel=SAMPLING)] = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="Allowed answer; repeatable.", rich_help_panel=SAMPLING)
    ] = None,
    stream: Annotated[bool, typer.Option(help="Print text as it comes.")] = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what ran where and how fast.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as JSON.")] = False,
) -> None:
    """Answer one prompt. A model of the catalogue that is not here yet is fetched first."""
    given = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty, "seed": seed, "max_tokens": max_tokens, "stop": stop or None,
        "n": outputs, "logprobs": logprobs, "json_schema": _read_json(schema), "grammar": _read_text(grammar),
        "regex": regex, "choices": choice or None,
    }  # fmt: skip
    sampling = {name: value for name, value in given.items() if value is not None}
    text = _engine.read_prompt(prompt)
    constrained = any(given[name] for name in ("json_schema", "grammar", "regex", "choices"))
    bay, handle = _engine.open_generator(
        generator=generator, model=model, backend=backend, device=device, context_length=context_length,
        options=option, system=system, config=config, profile=profile, sampling=sampling,
    )  # fmt: skip
    with bay:
        if stream and not as_json and outputs in (None, 1):
            result = _stream(handle, text, raw, sampling)
        else:
            result = handle.complete(text, **sampling) if raw else handle.chat(text, **sampling)
            _print(result, as_json)
        if constrained and result.finish_reason == "length":
            err.print("[yellow]cut before the constraint was fulfilled:[/] raise --max-tokens")
        if verbose:
            err.print(describe(result))


def describe(result: Result) -> str:
    """One line: what ran where and how fast."""
    usage, timing = result.usage, result.timing
    return (
        f"[dim]{result.backend} on {result.device} · {usage.prompt_tokens} prompt tokens"
        f" ({usage.cached_tokens} cached) · {usage.completion_tokens} new · TTFT {timing.ttft * 1000:.0f} ms"
        f" · {timing.tokens_per_second:.1f} tokens/s · {result.finish_reason}[/]"
    )


def _stream(handle: GeneratorHandle, text: str, raw: bool, sampling: dict[str, Any]) -> Result:
    with handle.stream(text, **sampling) if raw else handle.stream_chat(text, **sampling) as stream:
        for piece in stream.texts():
            sys.stdout.write(piece)
            sys.stdout.flush()
    sys.stdout.write("\n")
    return stream.result


def _print(result: Result, as_json: bool) -> None:
    if as_json:
        print_json(result_as_json(result))
        return
    for output in result.outputs:
        sys.stdout.write(output.text + "\n")


def result_as_json(result: Result) -> dict[str, Any]:
    """The result as plain data; of the decision only what was chosen and why."""
    from dataclasses import asdict

    decision = result.decision
    return {
        "text": result.text,
        "outputs": [asdict(output) for output in result.outputs],
        "usage": asdict(result.usage),
        "timing": asdict(result.timing),
        "prompt": asdict(result.prompt),
        "ledger": [asdict(entry) for entry in result.ledger],
        "backend": result.backend,
        "device": result.device,
        "why": decision.why if decision else None,
        "failures": list(decision.failures) if decision else [],
    }


def _read_text(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}", value=str(file)) from error


def _read_json(file: Path | None) -> Any:
    text = _read_text(file)
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"no JSON: {error.msg}", file=str(file), line=error.lineno) from error
