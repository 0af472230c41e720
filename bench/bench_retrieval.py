"""Indexing and searching beside LangChain and LlamaIndex: the same model, the same store (Chroma), in one run.

The documents are the docstrings of Python's standard library, from 300 to 900 characters, a file each, so that on all
sides one document is about one passage. Each side runs in a process of its own, the peers in the virtual environment
`.venvs/peers` (make .venvs/peers/.ready); they take turns, and the best of each counts.

- ingest: documents/s end to end (reading, splitting, embedding, writing), ours over the better peer's (>= 2);
- search: median milliseconds of a question (embedding it and the nearest five), ours over the better peer's (<= 1).

enginebay's engine is what the matcher chooses here; how near its passages are to the peers' is printed as the share of
a peer's five that are among ours.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from enginebay import Bay

MODEL = "all-minilm-l6-v2"
ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venvs" / "peers" / "bin" / "python"
SIDES = ("enginebay", "langchain", "llama_index")
DOCUMENTS, QUESTIONS, ROUNDS = 300, 60, 3
INGEST, SEARCH = 2.0, 1.0


def main() -> None:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="", help="enginebay's embedder, in place of the matcher's choice")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if not PEERS.exists():
        sys.exit("the peers are not installed: make .venvs/peers/.ready")
    with Bay() as bay:
        model = str(bay.pull(MODEL))
    figures = measured(model, arguments.backend)
    missed = False
    for name, value in figures.items():
        limit = {"ingest_ratio": INGEST, "search_ratio": SEARCH}.get(name)
        bad = limit is not None and (value < limit if name == "ingest_ratio" else value > limit)
        missed |= bad
        print(f"{name:26} {value:9.3f}" + (f"   limit {limit:g}{' MISSED' if bad else ''}" if limit else ""))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(missed)


def measured(model: str, backend: str) -> dict[str, float]:
    """Best figures of each side, and the ratios."""
    best: dict[str, float] = {}
    found: dict[str, list[list[str]]] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        batches, questions = corpus(Path(folder))
        workers = {}
        for side in SIDES:
            workers[side] = stack.enter_context(Worker(sys.executable if side == "enginebay" else str(PEERS)))
            reference = f"{model},{backend}" if side == "enginebay" else model
            workers[side].ask(do="open", side=f"{side}_side", model=reference, folder=f"{folder}/{side}")
        for batch in batches:
            for side, worker in workers.items():
                told = worker.ask(do="ingest", files=batch)
                speed = len(batch) / told["seconds"]
                best[f"{side}_documents_s"] = max(best.get(f"{side}_documents_s", 0), speed)
                best[f"{side}_passages"] = best.get(f"{side}_passages", 0) + told["passages"]
        for _ in range(ROUNDS):
            for side, worker in workers.items():
                told = worker.ask(do="search", questions=questions)
                found[side] = told["found"]
                name = f"{side}_search_ms"
                best[name] = min(best.get(name, 1e9), median(told["seconds"]) * 1e3)
    peers = SIDES[1:]
    best["ingest_ratio"] = best["enginebay_documents_s"] / max(best[f"{side}_documents_s"] for side in peers)
    best["search_ratio"] = best["enginebay_search_ms"] / min(best[f"{side}_search_ms"] for side in peers)
    for side in peers:
        best[f"same_as_{side}"] = same(found["enginebay"], found[side])
    return best


def same(ours: list[list[str]], theirs: list[list[str]]) -> float:
    """Share of the peer's passages that ours have, by their beginnings."""
    pairs = [
        (text.strip()[:100], {one.strip()[:100] for one in own})
        for own, peer in zip(ours, theirs, strict=True)
        for text in peer
    ]
    return sum(text in own for text, own in pairs) / len(pairs)


def corpus(folder: Path) -> tuple[list[list[str]], list[str]]:
    """Files in `ROUNDS` batches, and questions: first sentences of others' docstrings."""
    texts: list[str] = []
    wanted = ROUNDS * DOCUMENTS + QUESTIONS
    for source in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in source.parts or "test" in source.parts:
            continue
        texts += docstrings(source)
        if len(texts) > 3 * wanted:
            break
    texts = sorted(set(texts))[:: max(1, len(set(texts)) // wanted)][:wanted]
    assert len(texts) == wanted, f"the standard library here has only {len(texts)} such docstrings"
    files = []
    for number, text in enumerate(texts[QUESTIONS:]):
        file = folder / "files" / f"{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        files.append(str(file))
    batches = [files[turn::ROUNDS] for turn in range(ROUNDS)]
    return batches, [text.split(".")[0][:200] for text in texts[:QUESTIONS]]


def docstrings(source: Path) -> list[str]:
    """Docstrings of functions and classes, from 300 to 900 characters."""
    try:
        tree = ast.parse(source.read_text())
    except (SyntaxError, UnicodeDecodeError):
        return []
    places = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, places))
    return [text for text in found if text and 300 <= len(text) <= 900 and text.isascii()]


class Worker:
    """A side in its process."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(ROOT / "bench" / "peers" / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "ANONYMIZED_TELEMETRY": "False",
                "TOKENIZERS_PARALLELISM": "true",
            },
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def ask(self, **task: Any) -> Any:
        """Give a task and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended at {task['do']}")
        return json.loads(answer)


if __name__ == "__main__":
    main()
