"""Token ids are the same before and after conversion, for each kind of tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
import tokenizers
from gguf import GGUFWriter
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from enginebay.models.pretokenizers import PRETOKENIZERS, pretokenizer, pretokenizer_name
from enginebay_plugins.gguf.vocabulary import write_vocabulary

TEXTS = (
    "Hello, world! It's 12345 o'clock; they'LL've 007 left.",
    "  leading and   inner  spaces\n\n\tand\r\ntabs ",
    "Grüße aus Köln: 3.14159·10⁻³ ≈ ½",
    "日本語のテキスト、中文文本 — e한국어",
    "👩‍👩‍👧‍👦 families 🎉🎉 and é (combining)",
    "def f(x):\n    return x**2  # comment\n",
    "THE QuickBrown-fox_jumps over HTTPServer2023!!",
    "",
)
CORPUS = [*TEXTS, *(Path(__file__).read_text(), "the then there their these those other another mother " * 20)]


def folder_of(tokenizer: tokenizers.Tokenizer, folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text("{}")
    return folder


def ids_after(folder: Path, size: int) -> list[list[int]]:
    """Token ids by llama.cpp, of a GGUF file that holds the vocabulary only."""
    path = folder / "vocabulary.gguf"
    writer = GGUFWriter(path, "llama")
    write_vocabulary(writer, folder, size)
    for name in ("context_length", "embedding_length", "block_count", "feed_forward_length", "head_count"):
        getattr(writer, f"add_{name}")(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    engine = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    try:
        return [engine.tokenize(text.encode(), add_bos=False, special=True) for text in TEXTS]
    finally:
        engine.close()


def trained(tokenizer: tokenizers.Tokenizer, trainer: Any) -> tokenizers.Tokenizer:
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@pytest.mark.parametrize("name", PRETOKENIZERS)
def test_byte_level_tokenizers(name: str, tmp_path: Path) -> None:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    folder = folder_of(trained(made, trainer), tmp_path / "m", eos_token="<|end|>")
    described = json.loads((folder / "tokenizer.json").read_text()) | {"pre_tokenizer": pretokenizer(name)}
    (folder / "tokenizer.json").write_text(json.dumps(described))
    made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert pretokenizer_name(json.loads(made.to_str())["pre_tokenizer"]) == name
    expected = [made.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert ids_after(folder, made.get_vocab_size()) == expected


@pytest.mark.parametrize("space_first", [True, False], ids=["as_llama2", "as_gemma"])
def test_sentence_piece_tokenizers(space_first: bool, tmp_path: Path) -> None:
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if space_first else spaces
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    made = trained(made, trainer)
    told = json.loads(made.to_str())
    # In real ones the bytes are pieces of the vocabulary, not added tokens.
    told["added_tokens"] = told["added_tokens"][:3]
    made = tokenizers.Tokenizer.from_str(json.dumps(told))
    folder = folder_of(made, tmp_path / "m", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    expected = [made.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert ids_after(folder, made.get_vocab_size()) == expected


def test_word_piece_tokenizers(tmp_path: Path) -> None:
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = trained(made, trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))
    folder = folder_of(made, tmp_path / "m", **{f"{name}_token": text for name, text in names.items()})
    expected = [made.encode(text, add_special_tokens=False).ids for text in TEXTS]
    found = ids_after(folder, made.get_vocab_size())
    # llama.cpp does not take Hangul syllables apart, as Unicode's NFD does.
    korean = next(place for place, text in enumerate(TEXTS) if "한국어" in text)
    del expected[korean], found[korean]
    assert found == expected
