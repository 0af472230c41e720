"""Makes tiny encoders with random weights, as sentence-transformers itself saves models. They know nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from enginebay.models.quietly import quietly

ARCHITECTURES = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert")
WORDS = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{number}" for number in range(60))]
WIDTH = 32
TEXTS = ("w1", "w2 w3 w4", "w5 w6 w7 w8 w9 w10 w11 w12 w13", "w1 w1", "", "nothing of it is known")

_SHAPES: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
_DISTILBERT: dict[str, Any] = {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}


def make_tiny(
    folder: Path,
    *,
    architecture: str = "bert",
    pooling: str = "mean",
    more: Sequence[str] = (),
    prompts: dict[str, str] | None = None,
    default_prompt: str | None = None,
    include_prompt: bool = True,
) -> Path:
    """Make one.

    Args:
        pooling: as sentence-transformers names it.
        more: steps after it: "Normalize", "Dense".
        default_prompt: name of the prompt that sentence-transformers puts before texts unless told otherwise.
    """
    torch.manual_seed(1)
    bare = folder.with_name(folder.name + "-bare")
    shapes = _DISTILBERT if architecture == "distilbert" else {**_SHAPES, "intermediate_size": 64}
    config = AutoConfig.for_model(
        architecture, vocab_size=len(WORDS), max_position_embeddings=34, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        **shapes,
    )  # fmt: skip
    with quietly():
        AutoModel.from_config(config).save_pretrained(bare)
        _tokenizer().save_pretrained(bare)
        steps: list[Any] = [Transformer(str(bare)), Pooling(WIDTH, pooling, include_prompt=include_prompt)]
        made = {"Normalize": Normalize, "Dense": lambda: Dense(WIDTH, 8)}
        steps += [made[name]() for name in more]
        model = SentenceTransformer(
            modules=steps, device="cpu", prompts=prompts or {}, default_prompt_name=default_prompt
        )
        model.save(str(folder))
    return folder


def make_tiny_random_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """Make a BERT that scores pairs of texts, with random weights.

    Args:
        labels: scores of a pair.
    """
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "bert", vocab_size=len(WORDS), max_position_embeddings=34, pad_token_id=1, num_labels=labels,
        intermediate_size=64, **_SHAPES,
    )  # fmt: skip
    with quietly():
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    raw: Any = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>", pad_token="<pad>",
        unk_token="<unk>", model_max_length=24,
    )  # fmt: skip
