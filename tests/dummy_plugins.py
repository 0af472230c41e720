"""Installs plugins for tests and benchmarks: `.dist-info` folders and modules in a folder to put on `sys.path`."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

HEALTHY = """\
from enginebay import BackendSpec, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1


@hookimpl
def backends():
    return [
        BackendSpec(
            name="{name}",
            interface=Interface.GENERATOR,
            factory="{module}:open_engine",
            devices=(DeviceSupport(kind=DeviceKind.CPU),),
        )
    ]


def open_engine(request):
    raise NotImplementedError("a dummy plugin opens no engine")
"""


def install(
    folder: Path,
    name: str,
    source: str | None = None,
    *,
    version: str = "1.0",
    distribution: str | None = None,
    module: str | None = None,
    entry_points: str | bytes | None = None,
    metadata: str | bytes | None = None,
) -> None:
    """Install one plugin as a distribution of its own.

    Args:
        folder: the folder that will be on `sys.path`.
        name: name of the entry point and, by default, of the backend.
        source: the module's text; None writes a healthy plugin with one backend. "" writes no module.
        distribution: name of the distribution; by default `enginebay-NAME`.
        module: name of the module; by default `enginebay_NAME`.
        entry_points, metadata: content of those files in place of the right one.
    """
    distribution = distribution or f"enginebay-{name.replace('_', '-')}"
    module = module or f"enginebay_{name}"
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    _write(info / "METADATA", metadata, f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    _write(info / "entry_points.txt", entry_points, f"[enginebay]\n{name} = {module}\n")
    text = HEALTHY.format(name=name, module=module) if source is None else dedent(source)
    if text:
        (folder / f"{module}.py").write_text(text, encoding="utf-8")


def install_many(folder: Path, count: int) -> None:
    """Install `count` healthy plugins, `dummy_000` and on."""
    for number in range(count):
        install(folder, f"dummy_{number:03}")


def install_bystanders(folder: Path, count: int) -> None:
    """Install `count` distributions that have nothing to do with enginebay but entry points of their own."""
    for number in range(count):
        name = f"bystander_{number:03}"
        install(folder, name, "", distribution=name, entry_points=f"[console_scripts]\n{name} = {name}:main\n")


def _write(path: Path, given: str | bytes | None, default: str) -> None:
    content = default if given is None else given
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
