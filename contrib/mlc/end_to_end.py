"""MLC from end to end, for a person who has its wheels and a GPU: convert, open, compare, verify.

    pip install --pre -U -f https://mlc.ai/wheels mlc-llm-nightly-cpu mlc-ai-nightly-cpu
    pip install 'enginebay[transformers,testing]'
    python contrib/mlc/end_to_end.py smollm2-135m-instruct vulkan

The CPU wheels bring Vulkan on Linux and Windows, and Metal on macOS. Exits with 0 when every step held. This project's
own tests run against a stand-in for mlc_llm only: please report what this prints, good or bad.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from enginebay import Bay, DeviceKind, ModelFormat


def main() -> int:
    """Run each step and say what it gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF or safetensors, as a path or a name of the catalogue")
    parser.add_argument("device", choices=["cuda", "metal", "rocm", "vulkan"])
    parser.add_argument("--quantization", default="q4f16_1")
    told = parser.parse_args()
    with Bay() as bay:
        kinds = {device.kind for device in bay.hardware().devices if not device.software}
        if DeviceKind(told.device) not in kinds:
            print(f"the probe sees no {told.device} device here: {', '.join(sorted(kinds))}")
            return 1
        print("1. converting, and compiling the model's library")
        bay.pull(told.model)
        options = {"quantization": told.quantization, "device": told.device}
        folder = bay.convert(told.model, ModelFormat.MLC, options=options)
        print(f"   {folder}")
        print("2. what the matcher says")
        print(bay.explain(str(folder), backend="mlc").why)
        print("3. an answer")
        handle = bay.generator(str(folder), backend="mlc", context_length=2048, streams=4)
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ]
        answer = handle.chat(messages, temperature=0, max_tokens=64)
        print(f"   {answer.text!r}, {answer.timing}, on {handle.device}")
    print("4. the conformance kit")
    command = [sys.executable, "-m", "enginebay", "verify", "mlc", "--model", str(folder)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
