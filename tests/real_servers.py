"""Real servers for tests, each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from contextlib import closing
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

_LLAMA = textwrap.dedent(
    """
    import sys, time, xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path, params.api_keys, params.model_alias = sys.argv[1], [sys.argv[2]], {"smollm2"}
    params.n_parallel, params.n_ctx, params.port, params.verbosity, params.ctx_shift = 4, 4 * 512, 0, -1, False
    params.cpuparams.n_threads = 2
    if sys.argv[3:] == ["--embedding"]:
        params.embedding, params.n_ubatch, params.n_ctx, params.kv_unified = True, 512, 512, True
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    time.sleep(3600)
    """
)


class LlamaServer:
    """llama.cpp's own server on a free loopback port, with four slots of 512 tokens.

    Args:
        embedding: it embeds; the slots share 512 tokens then.
    """

    model = "smollm2"
    key = "key-of-a-test"

    def __init__(self, path: Path, *, embedding: bool = False) -> None:
        self._path = path
        self._mode = ["--embedding"] if embedding else []

    def __enter__(self) -> LlamaServer:
        command = [sys.executable, "-c", _LLAMA, str(self._path), self.key, *self._mode]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("llama.cpp's server did not start")
        return self

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def kill(self) -> None:
        """End it the hard way, as a crash would."""
        self._process.kill()
        self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()


class VllmServer:
    """vllm serve on a free loopback port."""

    model = "smollm2"

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> VllmServer:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        # What `vllm serve` runs; the CPU build's own program looks for a distribution of another name.
        arguments = (
            "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._path), "--served-model-name", self.model,
            "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "512", "--max-num-seqs", "8",
            "--enforce-eager", "--max-logprobs", "100", "--generation-config", "vllm",
            "--structured-outputs-config", '{"backend": "guidance"}',
        )  # fmt: skip
        environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdout=self._log, stderr=self._log, env=environment, start_new_session=True
        )
        for _ in range(600):
            if self._process.poll() is not None:
                break
            try:
                httpx.get(f"{self.url}/models", timeout=1).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.5)
            else:
                return self
        self._log.seek(0)
        raise RuntimeError(f"vllm serve did not start: {self._log.read().decode(errors='replace')[-2000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


class ChromaServer:
    """`chroma run` on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> ChromaServer:
        code = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(['chroma', *sys.argv[1:]])"
        arguments = ("run", "--path", str(self._folder), "--host", "127.0.0.1", "--port", str(self._port))
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(300):
            try:
                httpx.get(f"{self.url}/api/v2/heartbeat", timeout=1).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return self
        raise RuntimeError("Chroma's server did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


class PostgresServer:
    """PostgreSQL 16 with pgvector 0.6.2, as the package pgserver brings it, on a socket in a folder of its own.

    As root, pgserver makes a user of that name, as whom the server runs.
    """

    def __enter__(self) -> PostgresServer:
        self._names = count(1)
        self._server: Any = None
        self._folder = tempfile.mkdtemp(prefix="postgres")
        self.start()
        return self

    def start(self) -> None:
        """Start it, after `kill` too."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks platformdirs for a folder that a container may lack
            from pgserver import get_server
        if self._server is not None:
            self._server.ensure_postgres_running()
            return
        self._server = get_server(self._folder, cleanup_mode="delete")
        self._run("ALTER SYSTEM SET fsync = off")  # what outlives a kill need not outlive a power failure
        self._run("SELECT pg_reload_conf()")

    def kill(self) -> None:
        """End it the hard way, as a crash would."""
        process = self._server.get_postmaster_info().process
        children = process.children()
        process.kill()
        for one in (process, *children):
            one.wait(30)

    def new_database(self) -> str:
        """The url of an empty database."""
        name = f"test_{next(self._names)}"
        self._run(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    def _run(self, statement: str) -> None:
        import psycopg

        with closing(psycopg.connect(self._server.get_uri(), autocommit=True)) as connection:
            connection.execute(statement)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.cleanup()
