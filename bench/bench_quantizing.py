"""What `Bay.quantize` costs over each quantizer's own library: the whole call, checks, record and digests included.

The raw side is a script of a few lines, as the library's documentation shows it, in a process of its own that imports
the library; ours is `Bay.quantize`, which starts a process of its own, too, from a bay that has looked at the machine.
Both take turns; the ratio is that of the best times (<= 1.05). Nothing of an earlier result is used, but the digest of
the source's files is: enginebay keeps it. `digest_s` is what it takes the first time. `extra_s` is what ours takes
longer: most of it is the same for models of any size, which the small ones here show at its worst.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from enginebay import Bay
from enginebay.models.download import file_digest
from enginebay.models.headers import read_info
from enginebay.models.identity import weight_paths

GENERATOR, EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"
ROUNDS = 5
RATIO = 1.05


@dataclass(frozen=True)
class Case:
    """One type of one quantizer.

    Attributes:
        source: makes the model that both start from.
        raw: script of the library alone, given the source, the output and the number of cores as arguments.
        options: what makes ours do the same as the script.
    """

    to: str
    source: Callable[[Bay], Path]
    raw: str
    options: dict[str, Any] = field(default_factory=dict)


def safetensors(bay: Bay) -> Path:
    """The generator in bfloat16."""
    bay.pull(GENERATOR)
    return bay.convert(GENERATOR, "safetensors")


def gguf(bay: Bay) -> Path:
    """The same in float16."""
    return bay.convert(str(safetensors(bay)), "gguf", options={"type": "F16"})


def onnx(bay: Bay) -> Path:
    """The embedder in float32."""
    bay.pull(EMBEDDER)
    return bay.convert(EMBEDDER, "onnx")


CASES = {
    "llama_cpp": Case(
        "q4_k_m",
        gguf,
        """
import ctypes, sys
import llama_cpp
source, output, threads = sys.argv[1:]
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
params.nthread = int(threads)
sys.exit(llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(params)))
""",
        {"importance_matrix": "never"},
    ),
    "ctranslate2": Case(
        "int8",
        safetensors,
        """
import sys
import torch
from ctranslate2.converters import TransformersConverter
source, output, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
files = ["tokenizer.json", "tokenizer_config.json"]
TransformersConverter(source, copy_files=files).convert(output, quantization="int8")
""",
    ),
    "bitsandbytes": Case(
        "nf4",
        safetensors,
        """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
source, output, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
model = AutoModelForCausalLM.from_pretrained(source, quantization_config=config, device_map={"": "cpu"})
model.save_pretrained(output)
AutoTokenizer.from_pretrained(source).save_pretrained(output)
""",
    ),
    "onnx": Case(
        "int8",
        onnx,
        """
import shutil, sys
from pathlib import Path
from onnxruntime.quantization import QuantType, quantize_dynamic
source, output = map(Path, sys.argv[1:3])
output.mkdir()
quantize_dynamic(source / "model.onnx", output / "model.onnx", per_channel=True, weight_type=QuantType.QInt8)
for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
    shutil.copyfile(source / name, output / name)
""",
        {"all_products": True},
    ),
}


def main() -> None:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantizers", nargs="*", default=list(CASES))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    missed = False
    with Bay() as bay:
        for name in arguments.quantizers:
            figures[name] = compared(bay, name, CASES[name])
            for what, value in figures[name].items():
                limit = RATIO if what == "ratio" else None
                bad = limit is not None and value > limit
                missed |= bad
                told = f"   limit {limit:g}{' MISSED' if bad else ''}" if limit is not None else ""
                print(f"{name:13} {CASES[name].to:7} {what:9} {value:9.3f}{told}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(missed)


def compared(bay: Bay, name: str, case: Case) -> dict[str, float]:
    """Best seconds of each side, taking turns, so that a busy machine hits both alike."""
    source = case.source(bay)
    threads = max(1, int(bay.hardware().cpu.usable_cores))
    with TemporaryDirectory() as folder:
        places = (Path(folder) / str(number) for number in range(10**6))

        def raw() -> None:
            command = [sys.executable, "-c", case.raw, str(source), str(next(places)), str(threads)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def ours() -> None:
            bay.quantize(str(source), case.to, backend=name, output=next(places), options=case.options)

        raw()
        ours()  # keeps the digest of the source
        best = [float("inf")] * 2
        for _ in range(ROUNDS):
            best = [min(before, seconds(run)) for before, run in zip(best, (raw, ours), strict=True)]
    digest = seconds(lambda: [file_digest(file) for file in weight_paths(read_info(source))])
    return {
        "raw_s": best[0],
        "ours_s": best[1],
        "extra_s": best[1] - best[0],
        "ratio": best[1] / best[0],
        "digest_s": digest,
    }


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
