"""Part of the stand-in: the commands convert_weight, gen_config and compile. Weights are copied, not quantized."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from safetensors import safe_open

QUANTIZATIONS = ("q0f16", "q0f32", "q3f16_0", "q3f16_1", "q4f16_0", "q4f16_1", "q4f16_2", "q4f32_1")
TOKENIZER = ("tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")


def main() -> None:
    parser = argparse.ArgumentParser("mlc_llm stand-in")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("convert_weight", "gen_config"):
        command = commands.add_parser(name)
        command.add_argument("config", type=Path)
        command.add_argument("--quantization", choices=QUANTIZATIONS, required=True)
        command.add_argument("--output", "-o", type=Path, required=True)
        if name == "gen_config":
            command.add_argument("--conv-template", choices=("LM", "chatml", "llama-3"), required=True)
    command = commands.add_parser("compile")
    command.add_argument("model", type=Path)
    command.add_argument("--device", default="auto")
    command.add_argument("--output", "-o", type=Path, required=True)
    arguments = parser.parse_args()
    globals()[f"_{arguments.command}"](arguments)


def _convert_weight(told: argparse.Namespace) -> None:
    weights = told.config / "model.safetensors"
    with safe_open(weights, "np"):
        pass  # refuses a file that was cut off
    shutil.copyfile(weights, told.output / "params_shard_0.bin")
    (told.output / "ndarray-cache.json").write_text("{}")


def _gen_config(told: argparse.Namespace) -> None:
    config = json.loads((told.config / "config.json").read_text())
    if config["model_type"] not in ("llama", "mistral", "qwen2"):
        raise SystemExit(f"Unknown model type: {config['model_type']}")
    made = {
        "version": "0.1.0",
        "model_type": config["model_type"],
        "quantization": told.quantization,
        "model_config": {name: value for name, value in config.items() if name != "model_type"},
        "vocab_size": config["vocab_size"],
        "context_window_size": config["max_position_embeddings"],
        "temperature": 0.6,
        "top_p": 0.9,
        "repetition_penalty": 1.1,
        "conv_template": {"name": told.conv_template, "stop_str": ["###"], "stop_token_ids": [99]},
    }
    (told.output / "mlc-chat-config.json").write_text(json.dumps(made))
    for name in TOKENIZER:
        if (told.config / name).exists():
            shutil.copyfile(told.config / name, told.output / name)


def _compile(told: argparse.Namespace) -> None:
    told.output.write_text(f"no library, but a stand-in's note: compiled for {told.device}")


if __name__ == "__main__":
    main()
