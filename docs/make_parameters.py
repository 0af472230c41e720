"""Writes docs/parameters.md from the specs of the first-party generators: `make docs`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from enginebay import BackendSpec, Interface
from enginebay.sampling.table import as_markdown

FILE = Path(__file__).with_name("parameters.md")
PLUGINS = ("llama_cpp", "transformers", "ctranslate2", "vllm", "mlc", "openai")


def text() -> str:
    """The whole page."""
    specs = [
        spec
        for name in PLUGINS
        for spec in import_module(f"enginebay_plugins.{name}").backends()
        if spec.interface is Interface.GENERATOR
    ]
    local = [spec for spec in specs if not _remote(spec)]
    remote = [spec for spec in specs if _remote(spec)]
    return f"""# Sampling parameters by backend

Made from the specs by `make docs`; `enginebay plugins --parameters` prints the same for what is installed.

- **native**: the engine does it, with enginebay's meaning. The conformance kit checks that it does.
- **emulated**: the core does it, with the same meaning: stop strings and `n` for every engine, everything for engines
  that hand over logits (constraints by llguidance's masks).
- **refused**: an `UnsupportedParameterError` names the parameter and the installed backends that have it. With
  `backend = "auto"` the request goes to such a backend in place of the error, with a `FallbackWarning`.

## Engines on this machine

{as_markdown(local)}

## Servers

What each kind of server honours as its documentation says. Tests run against llama.cpp's server and `vllm serve`; the
others have not been tested against a real server by this project.

{as_markdown(remote)}
"""


def _remote(spec: BackendSpec) -> bool:
    return all(device.kind == "remote" for device in spec.devices)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
