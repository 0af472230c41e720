"""Plugins that break a rule each, and the words their quarantine must hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

from dummy_plugins import install

_SPEC_HEAD = """\
from enginebay import BackendSpec, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1
CPU = (DeviceSupport(kind=DeviceKind.CPU),)


def open_engine(request):
    raise RuntimeError("this factory always raises")
"""


def _gives(expression: str) -> str:
    """A plugin whose hook `backends` runs this."""
    return f"{_SPEC_HEAD}\n\n@hookimpl\ndef backends():\n{indent(dedent(expression), '    ')}\n"


def _names(name: str, factory: str = "{module}:open_engine") -> str:
    return _gives(
        f"return [BackendSpec(name={name!r}, interface=Interface.GENERATOR, factory={factory!r}, devices=CPU)]"
    )


@dataclass(frozen=True)
class Broken:
    """A plugin, and what its reason must contain."""

    name: str
    source: str
    reason: tuple[str, ...]
    entry_points: bytes | None = None
    metadata: bytes | None = None
    shown_as: str | None = None

    def install(self, folder: Path) -> None:
        source = self.source.replace("{module}", f"enginebay_{self.name}")
        install(folder, self.name, source, entry_points=self.entry_points, metadata=self.metadata)

    @property
    def listed(self) -> str:
        """The name under which it is listed."""
        return self.shown_as or self.name


BROKEN = (
    Broken("raises", "raise RuntimeError('boom')", ("raises at import: RuntimeError: boom", "enginebay_raises.py:1")),
    Broken("exits", "import sys; sys.exit(3)", ("sys.exit(3)",)),
    Broken("syntax", "def broken(:", ("SyntaxError", "enginebay_syntax.py")),
    Broken("needs_more", "import a_module_nobody_has", ("a dependency is missing", "a_module_nobody_has")),
    Broken("recurses", "def f(): return f()\nf()", ("RecursionError",)),
    Broken("interrupts", "raise KeyboardInterrupt", ("raises at import: KeyboardInterrupt",)),
    Broken(
        "unprintable",
        "class Evil(Exception):\n    def __str__(self): raise ValueError\nraise Evil",
        ("raises at import: Evil",),
    ),
    Broken("escapes", "raise RuntimeError('a\\x1b[31m\\nb')", ("RuntimeError: a [31m b",)),
    Broken("not_there", "", ("the module 'enginebay_not_there' is not there",)),
    Broken("replaces_stdout", "import sys, io\nsys.stdout = io.StringIO()\nraise OSError('x')", ("OSError: x",)),
    Broken("no_version", "x = 1", ("no api_version", "speaks 1")),
    Broken("too_old", "api_version = 0", ("too old", "api_version 0", "enginebay 1")),
    Broken("too_new", "api_version = 99", ("too new", "api_version 99", "enginebay 1")),
    Broken("text_version", "api_version = '1'", ("api_version is '1', not an int", "speaks 1")),
    Broken("bool_version", "api_version = True", ("api_version is True, not an int",)),
    Broken("gives_numbers", _gives("return [42]"), ("bad spec", "42, not a BackendSpec")),
    Broken("gives_none", _gives("return None"), ("bad spec", "NoneType, not a list")),
    Broken(
        "gives_one",
        _gives("return BackendSpec(name='one', interface=Interface.GENERATOR, devices=CPU)"),
        ("one BackendSpec, not a list",),
    ),
    Broken(
        "wrong_type",
        _gives("return [BackendSpec(name='x', interface='toaster', devices=CPU)]"),
        ("bad spec", "field interface", "'toaster'"),
    ),
    Broken(
        "unknown_field",
        _gives("return [BackendSpec(name='x', interface=Interface.TUNER, devices=CPU, colour='red')]"),
        ("bad spec", "field colour"),
    ),
    Broken(
        "unvalidated",
        _gives("return [BackendSpec.model_construct(name='x', interface=Interface.TUNER, devices='many')]"),
        ("bad spec", "field devices"),
    ),
    Broken(
        "twins",
        _gives("return [BackendSpec(name='twin', interface=Interface.TUNER, devices=CPU)] * 2"),
        ("declares the tuner backend 'twin' twice",),
    ),
    Broken(
        "loads_plugins",
        "from enginebay.plugins import load_plugins\nload_plugins()\napi_version = 1",
        ("raises at import: PluginError: a plugin may not load or ask plugins",),
    ),
    Broken("odd_name", _names("Odd Name"), ("bad spec", "field name", "'Odd Name' is no backend name")),
    Broken("reserved_name", _names("auto"), ("bad spec", "'auto' is reserved")),
    Broken(
        "bad_at_import",
        _SPEC_HEAD + "\nSPEC = BackendSpec(name='x', interface=Interface.TUNER)",
        ("bad spec: BackendSpec: field devices", "enginebay_bad_at_import.py:10"),
    ),
    Broken("endless_list", _gives("while True:\n    yield None"), ("more than 1000 backends",)),
    Broken("missing_factory", _names("nothing", "{module}_engine:open"), ("missing factory", "'nothing'", "_engine")),
    Broken("hook_raises", _gives("raise KeyError('gone')"), ("the hook backends raises KeyError: 'gone'",)),
    Broken("hook_exits", _gives("raise SystemExit(2)"), ("the hook backends raises SystemExit: 2",)),
    Broken(
        "unknown_hook",
        "from enginebay import hookimpl\napi_version = 1\n@hookimpl\ndef make_coffee(): ...",
        ("broken hooks", "make_coffee"),
    ),
    Broken(
        "wrong_arguments",
        "from enginebay import hookimpl\napi_version = 1\n@hookimpl\ndef backends(sugar): ...",
        ("broken hooks", "sugar"),
    ),
    Broken(
        "wraps",
        "from enginebay import hookimpl\napi_version = 1\n@hookimpl(wrapper=True)\ndef backends(): return (yield)",
        ("broken hooks", "hook wrapper"),
    ),
    Broken(
        "z_duplicate", _names("healthy"), ("'healthy' is taken", "enginebay-healthy 1.0", "enginebay-z-duplicate 1.0")
    ),
    Broken(
        "garbage",
        "",
        ("unloadable metadata", "entry_points.txt"),
        entry_points=b"[enginebay]\n\xff\xfe = x\n",
        shown_as="enginebay-garbage",
    ),
    Broken("no_equals", "", ("unloadable metadata",), entry_points=b"[enginebay]\njust words\n", shown_as="just words"),
    Broken("an_object", "api_version = 1", ("a plugin is a module",), entry_points=b"[enginebay]\nan_object = m:obj\n"),
    Broken("odd name!", "api_version = 1", ("is no plugin name",), entry_points=b"[enginebay]\nodd name! = m\n"),
    Broken("garbled_metadata", "api_version = 1", ("unloadable metadata", "METADATA"), metadata=b"\xff\xfe\x00\x01"),
    Broken("nameless", "api_version = 1", ("unloadable metadata", "METADATA has no Name"), metadata=b"Hello: World\n"),
)
"""Broken at once; none of them waits."""

ENDLESS = (
    Broken("spins", "while True: pass", ("endless import",)),
    Broken("sleeps", "import time; time.sleep(1e9)", ("endless import",)),
    Broken(
        "clings",
        "import time\nwhile True:\n    try:\n        print('still here')\n        time.sleep(0.01)\n"
        "    except BaseException: pass",
        ("endless import",),
    ),
    Broken("hook_hangs", _gives("import time\ntime.sleep(1e9)"), ("the hook backends did not end",)),
)
"""Each takes the whole limit once."""

WARNED = (
    Broken("slow", "import time; time.sleep(0.6)\napi_version = 1", ("slow: it took 0.", "s to load")),
    Broken(
        "prints",
        "import sys\nprint('hello')\nprint('more')\nsys.stdout.buffer.write(b'bytes')\napi_version = 1",
        ("writes to stdout at import: 'hello'",),
    ),
    Broken(
        "prints_in_hook",
        _gives("print('[bold]what[/] am I')\nreturn []"),
        ("writes to stdout in the hook backends: '[bold]what[/] am I'",),
    ),
    Broken("wraps_stdout", "import sys, io\nsys.stdout = io.StringIO()\napi_version = 1", ("replaced sys.stdout",)),
)
"""They load, with a warning."""


def install_all(folder: Path, *groups: tuple[Broken, ...]) -> None:
    """Install the groups, and a healthy plugin beside them."""
    install(folder, "healthy")
    for group in groups:
        for broken in group:
            broken.install(folder)
