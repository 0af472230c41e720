"""The main jobs, end to end: choose an engine for this machine and stream an answer; search documents and cite them."""

import subprocess
import sys
from pathlib import Path

MODEL = "smollm2-135m-instruct"
SYSTEM = "You are a helpful assistant."
EMBEDDER = "all-minilm-l6-v2"
QUESTION = "How much memory do vectors of 384 numbers take?"

STEPS = (
    ("What has this machine?", ("probe",)),
    ("Fetch a small real model (98 MB, once).", ("pull", MODEL)),
    ("Which engine would run it, and why not the others?", ("explain", MODEL)),
    (
        "Ask it something.",
        (
            "generate",
            "--generator",
            MODEL,
            "--system",
            SYSTEM,
            "--temperature",
            "0",
            "--max-tokens",
            "60",
            "--verbose",
            "What is the capital of France?",
        ),
    ),
    ("Fetch a small embedder (87 MB, once).", ("pull", EMBEDDER)),
    ("Make the project's own documentation searchable.", ("index", "docs", "README.md", "--name", "demo")),
    (
        "Answer a question from it, with the sources.",
        ("ask", QUESTION, "--name", "demo", "--limit", "1", "--generator", MODEL, "--system", SYSTEM),
    ),
    (
        "And one that it does not answer.",
        ("ask", "Who painted the Mona Lisa?", "--name", "demo", "--generator", MODEL),
    ),
)

for title, arguments in STEPS:
    shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
    print(f"\n\033[1m{title}\033[0m\n$ enginebay {shown}", flush=True)
    done = subprocess.run([sys.executable, "-m", "enginebay", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)
print(f"\nNext: {Path(sys.executable).parent / 'enginebay'} chat --generator {MODEL}")
