"""What generator and embedder share of talking to a server: the connection, what is tried again, what errors mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from enginebay.config.settings import reveal
from enginebay.errors import ContextLengthError, EngineOpenError, InvalidParameterError
from enginebay.suggest import did_you_mean
from enginebay_plugins.openai.options import ServerOptions

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""

_TOKENIZERS = {"openai_vllm": ("tokenize", "prompt"), "openai_llama_cpp": ("tokenize", "content")}
"""Servers that tokenize, at an address beside the API's, and the field for the text."""


class RefusedError(Exception):
    """The server answered with an error status."""

    def __init__(self, status: int, text: str, retry_after: float | None) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.text = text
        self.retry_after = retry_after


def connection(options: ServerOptions, streams: int) -> dict[str, Any]:
    """Arguments of an httpx client, async or not.

    Args:
        streams: connections kept open.

    Raises:
        ConfigError: the environment lacks the variable with the key.
    """
    headers = dict(options.headers)
    if options.api_key is not None:
        headers["Authorization"] = f"Bearer {reveal(options.api_key)}"
    return {
        "base_url": options.base_url.rstrip("/") + "/",
        "headers": headers,
        "timeout": httpx.Timeout(options.read_timeout, connect=options.connect_timeout),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=streams),
    }


def retrying(options: ServerOptions) -> dict[str, Any]:
    """Arguments of tenacity's Retrying and AsyncRetrying."""
    backoff = wait_random_exponential(multiplier=0.5, max=options.most_wait)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        told = getattr(error, "retry_after", None)
        return min(told, options.most_wait) if told is not None else backoff(state)

    return {
        "stop": stop_after_attempt(options.retries + 1),
        "wait": wait,
        "retry": retry_if_exception(_passes),
        "reraise": True,
    }


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """The object that the server answered.

    Raises:
        RefusedError: it has an error status, or is no JSON.
    """
    if answer.is_error:
        raise refused(answer)
    try:
        value = answer.json()
    except ValueError as error:
        raise RefusedError(answer.status_code, "the answer is no JSON", None) from error
    return value if isinstance(value, dict) else {}


def refused(answer: httpx.Response) -> RefusedError:
    """An answer with an error status, as an error with the server's own words."""
    try:
        told = answer.json()
        inner = told.get("error", told) if isinstance(told, dict) else told
        text = inner.get("message", inner) if isinstance(inner, dict) else inner
    except ValueError:
        text = answer.text[:200]
    after = answer.headers.get("retry-after", "")
    return RefusedError(answer.status_code, str(text), float(after) if re.fullmatch(r"\d+(\.\d+)?", after) else None)


def listed_model(ask: Callable[[], dict[str, Any]], model: str, options: ServerOptions) -> dict[str, Any]:
    """What the server lists of a model.

    Args:
        ask: gets the list.

    Raises:
        EngineOpenError: no answer, a refused key, or the model is not there.
    """
    try:
        listed = ask()
    except httpx.HTTPError as error:
        raise EngineOpenError(
            f"no server answers at {options.base_url}: {error or type(error).__name__}",
            value=options.base_url,
            hint="start it, or set the option base_url",
        ) from error
    except RefusedError as error:
        hint = "set the option api_key" if error.status in (401, 403) else "is this an OpenAI-compatible server?"
        raise EngineOpenError(
            f"the server at {options.base_url} refuses: {error}", value=error.status, hint=hint
        ) from error
    models = {str(entry.get("id")): entry for entry in listed.get("data", [])}
    # Ollama lists the tag of the newest, which requests may leave out.
    found: dict[str, Any] | None = models.get(model) or models.get(f"{model}:latest")
    if found is None:
        raise EngineOpenError(
            f"the server at {options.base_url} has no model {model!r}",
            value=model,
            hint=did_you_mean(model, sorted(models)),
        )
    return found


def listed_context(listed: dict[str, Any]) -> int | None:
    """Tokens of one sequence, where the server's list of models tells them."""
    told = listed.get("max_model_len") or (listed.get("meta") or {}).get("n_ctx")
    return int(told) if told else None


def tokenizes(backend: str) -> bool:
    """Whether this kind of server tokenizes."""
    return backend in _TOKENIZERS


def tokenize_request(
    backend: str, model: str, options: ServerOptions, text: str, *, special: bool
) -> tuple[str, dict[str, Any]]:
    """Address and body of a request for token ids, from servers that tokenize."""
    path, field = _TOKENIZERS[backend]
    body = {"model": model, field: text, "add_special_tokens": special, "add_special": special}
    if backend == "openai_llama_cpp":
        body["parse_special"] = True
    return str(httpx.URL(options.base_url).copy_with(path=f"/{path}")), body


def translated(
    error: Exception, options: ServerOptions, context: int, failure: Callable[[str, str | None], Exception]
) -> Exception:
    """What went wrong on the way to the server or there, as enginebay's error.

    Args:
        context: tokens of one sequence, where the server's error does not tell.
        failure: makes the error of a server that failed, of a message and a hint.
    """
    if not isinstance(error, RefusedError):
        told = f"the connection to {options.base_url} failed: {error or type(error).__name__}"
        return failure(told, "is the server still running?")
    lengths = _context_error(error.text)
    if error.status in (400, 413, 422) or (error.status == 500 and lengths is not None):
        if lengths is not None:
            return ContextLengthError(lengths[0], lengths[1] or context)
        return InvalidParameterError(f"the server refuses the request: {error.text}", value=error.text)
    hint = {401: "set the option api_key", 403: "set the option api_key", 429: "ask for fewer streams"}
    return failure(f"the server failed: {error}", hint.get(error.status))


def _passes(error: BaseException) -> bool:
    if isinstance(error, RefusedError):
        return error.status in _PASSING and not _TOO_LARGE.search(error.text)
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.RemoteProtocolError | httpx.ReadError)


_TOO_LARGE = re.compile(r"too large to process")
"""llama.cpp's word for a text longer than its batch; it comes with the status 500."""

_SHORTEST = 16
"""No context is shorter: smaller numbers in an error are places."""

_TOO_LONG = re.compile(rf"context|maximum.{{0,20}}length|max_model_len|too long|{_TOO_LARGE.pattern}", re.IGNORECASE)


def _context_error(text: str) -> tuple[int | None, int | None] | None:
    """Tokens of the prompt and of the context, where an error says that one does not fit the other."""
    if not _TOO_LONG.search(text):
        return None
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]
    lengths = [number for number in numbers if number >= _SHORTEST]
    return (max(lengths), min(lengths)) if len(lengths) > 1 else (None, lengths[0] if lengths else None)
