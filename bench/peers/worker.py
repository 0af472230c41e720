"""One side of the retrieval benchmark, in a process of its own: reads tasks as lines of JSON, answers with its times.

Each side is a module beside this one, with `Side(model, folder)`: `ingest(files)` reads, splits, embeds and writes them
into Chroma in `folder`, `search(question)` gives the ids or texts of the five nearest passages.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not stand among the answers
    sys.path.insert(0, str(Path(__file__).parent))
    side: Any = None
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "open":
            side = import_module(task["side"]).Side(task["model"], task["folder"])
            side.warm_up()
            answer: Any = True
        elif task["do"] == "ingest":
            started = time.perf_counter()
            passages = side.ingest(task["files"])
            answer = {"seconds": time.perf_counter() - started, "passages": passages}
        else:
            times, found = [], []
            for question in task["questions"]:
                started = time.perf_counter()
                found.append(side.search(question))
                times.append(time.perf_counter() - started)
            answer = {"seconds": times, "found": found}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
