"""What goes wrong between an embedder and a server. The server here is scripted; conformance tests have a real one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scripted_server import Answer, ScriptedServer, as_json

from enginebay import Bay
from enginebay.embedding.handle import EmbedderHandle
from enginebay.errors import (
    ConfigError,
    ContextLengthError,
    EmbeddingError,
    EngineClosedError,
    EngineOpenError,
    InvalidParameterError,
    OptionError,
    UnsupportedFeatureError,
)
from machines import machine

Connect = Callable[..., EmbedderHandle]


def answer(*rows: list[float], tokens: int = 3, **changes: Any) -> Answer:
    """An answer in OpenAI's form, rows in reverse."""
    data = [{"index": place, "embedding": row} for place, row in enumerate(rows)]
    return as_json(200, {"data": data[::-1], "usage": {"prompt_tokens": tokens}} | changes)


ONE = answer([3.0, 4.0])
"""To the text by which the width is learned."""


@pytest.fixture
def connect() -> Iterator[Connect]:
    bays: list[Bay] = []

    def open_one(server: ScriptedServer | str, backend: str = "openai", **options: Any) -> EmbedderHandle:
        url = server if isinstance(server, str) else server.url
        bays.append(Bay(hardware=machine("epyc_server")))
        given = {"base_url": url, "api_key": "secret-of-a-test", "most_wait": 0.05} | options
        return bays[-1].embedder(
            "remote:scripted", backend=backend, batch_size=4, fallback=False, normalise=False, options=given
        )

    yield open_one
    for bay in bays:
        bay.close()


def test_vectors_come_in_order_and_tokens_are_counted(connect: Connect) -> None:
    with ScriptedServer(ONE, answer([1.0, 2.0], [3.0, 4.0], tokens=9)) as server:
        found = connect(server).engine.embed(["x", "y"])
        assert found.vectors.tolist() == [[1, 2], [3, 4]] and found.vectors.dtype == np.float32
        assert found.tokens == 9
        sent = server.requests[1]
        assert sent["path"] == "/v1/embeddings" and sent["input"] == ["x", "y"] and sent["model"] == "scripted"
        assert server.headers[1]["Authorization"] == "Bearer secret-of-a-test"


@pytest.mark.parametrize(
    ("backend", "form"), [("openai", "base64"), ("openai_vllm", "base64"), ("openai_lm_studio", "float")]
)
def test_each_kind_of_server_is_asked_in_its_form(connect: Connect, backend: str, form: str) -> None:
    packed = base64.b64encode(np.array([0.1, 0.2], dtype="<f4").tobytes()).decode()
    with ScriptedServer(as_json(200, {"data": [{"index": 0, "embedding": packed}]})) as server:
        handle = connect(server, backend)
        assert handle.embed_query("x").tolist() == np.array([0.1, 0.2], dtype=np.float32).tolist()
        assert server.requests[-1]["encoding_format"] == form


def test_ollama_is_asked_in_its_own_way_not_to_cut(connect: Connect) -> None:
    with ScriptedServer(as_json(200, {"embeddings": [[1.0, 2.0]], "prompt_eval_count": 5})) as server:
        found = connect(server, "openai_ollama").engine.embed(["x"])
        assert (found.vectors.tolist(), found.tokens) == ([[1, 2]], 5)
        assert server.requests[-1]["path"] == "/api/embed" and server.requests[-1]["truncate"] is False


def test_dimensions_are_asked_for_and_checked(connect: Connect) -> None:
    with ScriptedServer(ONE) as server:
        assert connect(server, dimensions=2).dimension == 2
        assert server.requests[-1]["dimensions"] == 2
        with pytest.raises(EngineOpenError, match="vectors of 2 numbers, not 8"):
            connect(server, dimensions=8)
        with pytest.raises(OptionError, match="no option 'dimensions'"):
            connect(server, "openai_llama_cpp", dimensions=2)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(connect: Connect, status: int) -> None:
    with ScriptedServer(ONE, as_json(status, {"error": {"message": "busy"}}), ONE) as server:
        assert connect(server).embed_query("x").tolist() == [3, 4]
        assert len(server.requests) == 3


def test_tries_end(connect: Connect) -> None:
    with ScriptedServer(ONE, as_json(503, {"error": {"message": "still loading"}})) as server:
        handle = connect(server, retries=2)
        with pytest.raises(EmbeddingError, match="HTTP 503: still loading"):
            handle.embed_query("x")
        assert len(server.requests) == 4


def test_what_does_not_pass_is_not_tried_again(connect: Connect) -> None:
    with ScriptedServer(ONE, as_json(400, {"error": {"message": "'$.input' is invalid"}})) as server:
        handle = connect(server)
        with pytest.raises(InvalidParameterError, match="is invalid"):
            handle.embed_query("")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "message", "tokens", "limit"),
    [
        (400, "Invalid 'input[1]': maximum input length is 8192 tokens.", None, 8192),
        (400, "This model's maximum context length is 128 tokens, however you requested 300 tokens", 300, 128),
        (500, "input (602 tokens) is too large to process. increase the physical batch size (512)", 602, 512),
    ],
)
def test_a_text_too_long_is_named(connect: Connect, status: int, message: str, tokens: int | None, limit: int) -> None:
    with ScriptedServer(ONE, as_json(status, {"error": {"message": message}})) as server:
        handle = connect(server)
        with pytest.raises(ContextLengthError, match="text 1") as caught:
            handle.embed_documents(["short", "a longer text", "mid"])
        assert (caught.value.prompt_tokens, caught.value.context_length) == (tokens, limit)
        assert len(server.requests) == 3, "the longest text is tried alone, nothing is tried again"


def test_many_bytes_go_in_several_requests(connect: Connect) -> None:
    with ScriptedServer(ONE) as server:
        found = connect(server).engine.embed(["a" * 200_000, "b" * 200_000])
        assert found.vectors.tolist() == [[3, 4], [3, 4]] and found.tokens == 6
        assert [len(request["input"]) for request in server.requests] == [1, 1, 1]


@pytest.mark.parametrize(
    "broken",
    [
        as_json(200, {"data": []}),
        as_json(200, {"data": [{"index": 0, "embedding": "no base64!"}]}),
        as_json(200, {"data": [{"index": 0, "embedding": "AAA="}]}),
        as_json(200, {"data": [{"index": 0}]}),
        as_json(200, {"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1]}]}),
        as_json(200, {"object": "list"}),
        as_json(200, [1]),
        answer([1.0, 2.0], [3.0, 4.0]),
    ],
)
def test_answers_that_make_no_sense(connect: Connect, broken: Answer) -> None:
    with ScriptedServer(ONE, broken) as server, pytest.raises(EmbeddingError):
        connect(server).embed_query("x")


def test_nobody_there(connect: Connect) -> None:
    with pytest.raises(EngineOpenError, match="no server answers"):
        connect("http://127.0.0.1:9/v1", retries=0)


def test_a_server_that_does_not_embed(connect: Connect) -> None:
    message = "This server does not support embeddings. Start it with `--embeddings`"
    with (
        ScriptedServer(as_json(501, {"error": {"message": message}})) as server,
        pytest.raises(EngineOpenError, match=r"does not embed: .*Start it with"),
    ):
        connect(server)


def test_a_model_that_is_not_there() -> None:
    with ScriptedServer(ONE) as server, Bay(hardware=machine("epyc_server")) as bay:
        options = {"base_url": server.url, "api_key": None}
        with pytest.raises(EngineOpenError, match="did you mean 'scripted'"):
            bay.embedder("remote:scriptedd", backend="openai", fallback=False, options=options)


def test_keys_are_kept_and_missing_ones_told(connect: Connect) -> None:
    with ScriptedServer(ONE) as server:
        handle = connect(server)
        assert "secret-of-a-test" not in repr(handle) + handle.decision.model_dump_json()
        with pytest.raises((ConfigError, EngineOpenError), match="NO_SUCH_KEY"):
            connect(server, api_key="env:NO_SUCH_KEY")


def test_a_server_that_does_not_tokenize_says_so(connect: Connect) -> None:
    with ScriptedServer(ONE) as server, pytest.raises(UnsupportedFeatureError):
        connect(server).count_tokens(["x"])


def test_after_closing(connect: Connect) -> None:
    with ScriptedServer(ONE) as server:
        handle = connect(server)
        handle.engine.close()
        handle.engine.close()
        with pytest.raises(EngineClosedError):
            handle.engine.embed(["x"])
