"""The main job, end to end: probe this machine, explain the choice, fetch a real model, stream an answer."""

import subprocess
import sys

MODEL = "smollm2-135m-instruct"

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
            "You are a helpful assistant.",
            "--temperature",
            "0",
            "--max-tokens",
            "60",
            "--verbose",
            "What is the capital of France?",
        ),
    ),
)

for title, arguments in STEPS:
    shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
    print(f"\n\033[1m{title}\033[0m\n$ enginebay {shown}", flush=True)
    done = subprocess.run([sys.executable, "-m", "enginebay", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)
print("\nNext: .venv/bin/enginebay chat --generator smollm2-135m-instruct")
