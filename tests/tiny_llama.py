"""Makes a tiny Llama with random weights and the tiny encoders' tokenizer. It knows nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tiny_encoders import WORDS, make_tiny

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def make_tiny_llama(folder: Path) -> Path:
    """Make one: two layers, 64 tokens of context, a chat template."""
    encoder = make_tiny(folder.with_name(folder.name + "-encoder"))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(encoder / name, folder / name)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder
