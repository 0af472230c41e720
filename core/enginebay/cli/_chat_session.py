"""The conversation behind `enginebay chat`: its messages, its commands, its figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.markup import escape

from enginebay import paths
from enginebay.cli._output import err, report
from enginebay.errors import ContextLengthError, EnginebayError, PromptError
from enginebay.generation.handle import GeneratorHandle
from enginebay.generation.results import Result
from enginebay.prompts.messages import Message
from enginebay.sampling.plan import make_params

COMMANDS = {
    "help": "show this help",
    "exit": "leave (also Ctrl-D)",
    "clear": "forget the conversation, keep the system prompt",
    "undo": "take back the last question and its answer",
    "retry": "answer the last question again",
    "system": "/system TEXT: set the system prompt and start anew; without TEXT show it",
    "set": "/set NAME VALUE: a sampling parameter, such as temperature 0.2; without NAME show them",
    "unset": "/unset NAME: a sampling parameter back to its default",
    "stats": "tokens of the conversation, room left in the context",
    "save": "/save FILE: write the conversation as JSON",
    "load": "/load FILE: go on with a saved conversation",
    "info": "what runs where, and why",
}

_MESSAGES = TypeAdapter(list[Message])


class ChatSession:
    """One conversation with one generator.

    Args:
        sampling: sampling parameters by name, over the configured ones.
    """

    def __init__(self, handle: GeneratorHandle, sampling: dict[str, Any]) -> None:
        self.handle = handle
        self.sampling = sampling
        self.system = handle.system
        self.messages: list[Message] = []

    def banner(self) -> str:
        """First lines of the chat."""
        handle = self.handle
        return (
            f"[bold]{escape(handle.model.name or handle.name)}[/] · {handle.spec.name} on {handle.device}"
            f" · context {handle.context_length}\n"
            "[dim]/help for commands · Alt-Enter for a new line · Ctrl-C stops an answer · Ctrl-D leaves[/]"
        )

    def take(self, line: str) -> bool:
        """Handle one line: a command or a message. False ends the chat."""
        if not line.startswith("/") or line.startswith("//"):
            self._ask(line.removeprefix("/") if line.startswith("//") else line)
            return True
        name, _, argument = line[1:].partition(" ")
        if name in ("exit", "quit"):
            return False
        command: Callable[[str], None] | None = getattr(self, f"_{name}", None) if name in COMMANDS else None
        if command is None:
            err.print(
                f"[red]unknown command /{escape(name)}[/]; /help lists them (write // for a message with a slash)"
            )
            return True
        try:
            command(argument.strip())
        except EnginebayError as error:
            report(error)
        return True

    def _ask(self, text: str) -> None:
        self.messages.append(Message(role="user", content=text))
        try:
            answer = self._answer()
        except ContextLengthError as error:
            self.messages.pop()
            report(error)
            err.print("[dim]the message was not sent: /undo or /clear makes room[/]")
        except EnginebayError as error:
            self.messages.pop()
            report(error)
        else:
            self.messages.append(Message(role="assistant", content=answer))

    def _answer(self) -> str:
        """Stream an answer to stdout; Ctrl-C keeps what has come."""
        pieces: list[str] = []
        result: Result | None = None
        with self.handle.stream_chat(self._conversation(), **self.sampling) as stream:
            try:
                for piece in stream.texts():
                    pieces.append(piece)
                    sys.stdout.write(piece)
                    sys.stdout.flush()
                result = stream.result
            except KeyboardInterrupt:
                pass
        sys.stdout.write("\n")
        sys.stdout.flush()
        if result is None:
            err.print("[dim](stopped)[/]")
        else:
            usage, timing = result.usage, result.timing
            err.print(
                f"[dim]{usage.completion_tokens} tokens · {timing.tokens_per_second:.1f} tokens/s"
                f" · TTFT {timing.ttft * 1000:.0f} ms[/]"
            )
        return "".join(pieces)

    def _conversation(self) -> list[Message]:
        system = [Message(role="system", content=self.system)] if self.system else []
        return system + self.messages

    def _help(self, _: str) -> None:
        for name, text in COMMANDS.items():
            err.print(f"  [bold]/{name:<7}[/] {escape(text)}")

    def _clear(self, _: str) -> None:
        self.messages.clear()
        err.print("[dim]the conversation is empty[/]")

    def _undo(self, _: str) -> None:
        while self.messages and self.messages.pop().role != "user":
            pass
        err.print(f"[dim]{len(self.messages)} messages left[/]")

    def _retry(self, _: str) -> None:
        asked = [message for message in self.messages if message.role == "user"]
        if not asked:
            raise PromptError("there is no question to answer again")
        self._undo("")
        self._ask(asked[-1].content)

    def _system(self, text: str) -> None:
        if text:
            self.system = text
            self.messages.clear()
        err.print(f"[dim]system prompt:[/] {escape(self.system or '(none)')}")

    def _set(self, argument: str) -> None:
        from enginebay.cli._engine import parse_options

        if argument:
            name, _, value = argument.partition(" ")
            changed = {**self.sampling, **parse_options([f"{name}={value.lstrip('= ')}"])}
            make_params(self.handle.defaults, changed)
            self.sampling = changed
        shown = make_params(self.handle.defaults, self.sampling).active()
        err.print("[dim]sampling:[/] " + (", ".join(f"{k}={v}" for k, v in shown.items()) or "defaults"))

    def _unset(self, name: str) -> None:
        self.sampling.pop(name, None)
        self._set("")

    def _stats(self, _: str) -> None:
        prompt = self.handle.render(self._conversation()) if self.messages else None
        used = len(self.handle.tokenize(prompt.text, add_bos=prompt.add_bos)) if prompt else 0
        total = self.handle.context_length
        err.print(f"[dim]{len(self.messages)} messages · {used} of {total} tokens used · {total - used} left[/]")

    def _save(self, name: str) -> None:
        if not name:
            raise PromptError("/save needs a file name")
        file = Path(name).expanduser()
        data = [message.model_dump() for message in self._conversation()]
        try:
            paths.write_whole(file, json.dumps(data, ensure_ascii=False, indent=2).encode())
        except OSError as error:
            raise PromptError(f"cannot write {file}: {error.strerror}", value=name) from error
        err.print(f"[dim]{len(data)} messages written to {escape(str(file))}[/]")

    def _load(self, name: str) -> None:
        file = Path(name).expanduser()
        try:
            messages = _MESSAGES.validate_json(file.read_bytes())
        except OSError as error:
            raise PromptError(f"cannot read {file}: {error.strerror}", value=name) from error
        except ValidationError as error:
            raise PromptError(f"{file} is no saved conversation: {error.errors()[0]['msg']}", value=name) from error
        if messages and messages[0].role == "system":
            self.system = messages.pop(0).content
        self.messages = messages
        err.print(f"[dim]{len(messages)} messages loaded[/]")

    def _info(self, _: str) -> None:
        err.print(escape(self.handle.decision.why))
