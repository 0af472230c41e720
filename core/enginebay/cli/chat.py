"""`enginebay chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from enginebay.cli import _engine
from enginebay.cli._output import err

if TYPE_CHECKING:
    from enginebay.cli._chat_session import ChatSession

app = typer.Typer()


@app.command()
def chat(
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
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", "-n", help="Most tokens in one answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answers.")] = None,
) -> None:
    """Talk with a model. Type /help inside for what it understands."""
    from enginebay.cli._chat_session import ChatSession

    bay, handle = _engine.open_generator(
        generator=generator, model=model, backend=backend, device=device, context_length=context_length,
        options=option, system=system, config=config, profile=profile,
    )  # fmt: skip
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    with bay:
        session = ChatSession(handle, sampling={name: value for name, value in given.items() if value is not None})
        if sys.stdin.isatty():
            _interactive(session)
        else:
            _piped(session)


def _interactive(session: ChatSession) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings

    from enginebay import paths
    from enginebay.cli._chat_session import COMMANDS

    history = paths.data_dir() / "chat_history"
    history.parent.mkdir(parents=True, exist_ok=True)
    keys = KeyBindings()
    keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
    prompt: PromptSession[str] = PromptSession(
        history=FileHistory(str(history)),
        auto_suggest=AutoSuggestFromHistory(),
        completer=WordCompleter([f"/{name}" for name in COMMANDS], sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
        prompt_continuation="… ",
    )
    err.print(session.banner())
    while True:
        try:
            line = prompt.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if line.strip() and not session.take(line):
            return


def _piped(session: ChatSession) -> None:
    """Each line of stdin is one message: for scripts and for people without a terminal."""
    for line in sys.stdin:
        if line.strip() and not session.take(line.rstrip("\n")):
            return
