"""Real servers for tests, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from types import TracebackType

_LLAMA = textwrap.dedent(
    """
    import sys, time, xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path, params.api_keys, params.model_alias = sys.argv[1], [sys.argv[2]], {"smollm2"}
    params.n_parallel, params.n_ctx, params.port, params.verbosity, params.ctx_shift = 4, 4 * 512, 0, -1, False
    params.cpuparams.n_threads = 2
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    time.sleep(3600)
    """
)


class LlamaServer:
    """llama.cpp's own server on a free loopback port, with four slots of 512 tokens."""

    model = "smollm2"
    key = "key-of-a-test"

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> LlamaServer:
        command = [sys.executable, "-c", _LLAMA, str(self._path), self.key]
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
