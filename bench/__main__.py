"""Run every benchmark; fail if one missed its limit."""

import subprocess
import sys
from pathlib import Path

missed = []
for file in sorted(Path(__file__).parent.glob("bench_*.py")):
    print(f"\n== {file.stem}", flush=True)
    if subprocess.run([sys.executable, str(file)], check=False).returncode:
        missed.append(file.stem)
if missed:
    sys.exit(f"limits missed: {', '.join(missed)}")
