"""Random GGUF models of one layer for llama.cpp, whose tokens are bytes and whose rows every type's blocks divide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType

WIDTH, INNER, CONTEXT = 256, 512, 64
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]


def write_tiny(path: Path, *, experts: int = 0) -> Path:
    """Write one, in 16 bits.

    Args:
        experts: makes it a mixture of so many, all of which every token goes through.
    """
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256])
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(experts)
    random = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", random.normal(size=(len(TOKENS), WIDTH)).astype(np.float16))
    for name, shape in _shapes(experts).items():
        writer.add_tensor(f"blk.0.{name}.weight", random.normal(0, 0.1, shape).astype(np.float16))
    if experts:
        writer.add_tensor("blk.0.ffn_gate_inp.weight", random.normal(0, 0.1, (experts, WIDTH)).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(experts: int) -> dict[str, tuple[int, ...]]:
    attention = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
    forward = {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    if not experts:
        return attention | forward
    return attention | {f"{name}_exps": (experts, *shape) for name, shape in forward.items()}
