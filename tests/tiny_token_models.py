"""Builds LLMLingua-2's kinds of models with random weights, small enough to be made anew for a test.

A folder's name holds the name the llmlingua package decides by; `lightmem` reads config.json instead.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["mbert", "xlmr"]
KINDS: tuple[Kind, ...] = ("mbert", "xlmr")
NAMES: dict[Kind, str] = {"mbert": "bert-base-multilingual-cased", "xlmr": "xlm-roberta-large"}

LETTERS = string.ascii_letters + string.digits + string.punctuation + "éüßñçÅж你好今日は天気東京สวัดีकخ。！？、…–“”’"
WORDS = re.findall(
    r"\S+",
    "the a and to of in is was I you we she he it my your for on at with that this so not did do have had "
    "Caroline Melanie Berlin Monday May support group went going really just very like love thanks time day week",
)
ENDINGS = ["ing", "ed", "ly", "er", "es", "tion", "al"]


def make_tiny_llmlingua(
    folder: Path,
    kind: Kind = "mbert",
    seed: int = 0,
    *,
    layers: int = 4,
    width: int = 32,
    heads: int = 4,
    positions: int = 512,
    name: str = "",
) -> Path:
    """A folder in `folder` with config.json, model.safetensors (2 labels) and a fast tokenizer; about 0.1 s.

    `positions` are those of a window with its special tokens; XLM-R's table has two more. `name` is the folder's own
    name; the default is tiny- and the name that the llmlingua package looks for.
    """
    import torch
    from transformers import (
        BertConfig,
        BertForTokenClassification,
        XLMRobertaConfig,
        XLMRobertaForTokenClassification,
    )

    torch.set_num_threads(1)  # so small a model only waits for a second thread, on a busy machine 40 times as long
    tokenizer = _wordpieces(positions) if kind == "mbert" else _unigrams(positions)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "num_labels": 2,
        "initializer_range": 0.2,  # of .02 all tokens would be kept alike
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "mbert":
            model: Any = BertForTokenClassification(BertConfig(max_position_embeddings=positions, **sizes))
        else:
            places = {"max_position_embeddings": positions + 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
            model = XLMRobertaForTokenClassification(XLMRobertaConfig(pad_token_id=1, **places, **sizes))
        for module in model.modules():  # what a fresh model has at 0 and 1, a trained one has not
            if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm):
                module.bias.data.normal_(0, 0.1)
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.data.normal_(1, 0.1)
    made = folder / (name or f"tiny-{NAMES[kind]}")
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made


def _wordpieces(positions: int) -> Any:
    """Cased pieces: every letter, at a word's start and within it, some words, some endings."""
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *WORDS]
    pieces += [f"##{piece}" for piece in (*LETTERS, *ENDINGS)]
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False, model_max_length=positions)


def _unigrams(positions: int) -> Any:
    """Every letter, the word sign ▁ alone and with each letter, some words, some endings; longer is likelier."""
    from transformers import XLMRobertaTokenizer

    pieces: Sequence[str] = ["▁", *LETTERS, *(f"▁{piece}" for piece in (*string.ascii_letters, *WORDS)), *ENDINGS]
    special = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    scored = [(piece, -10.0 + 2 * len(piece) - n / 1000) for n, piece in enumerate(dict.fromkeys(pieces))]
    return XLMRobertaTokenizer(vocab=[*special, *scored, ("<mask>", 0.0)], model_max_length=positions)
