"""Builds a BERT with random weights and a letters-only vocabulary, small enough to be made anew for a test."""

from __future__ import annotations

import string
from pathlib import Path

WINDOW = 48  # tokens, with [CLS] and [SEP]


def make_tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """A sentence-transformers folder: 2 layers, 32 dimensions, mean pooling."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    torch.set_num_threads(1)  # so small a model only waits for a second thread, on a busy machine 40 times as long
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=WINDOW,
    )
    bert = folder / "bert"
    BertModel(config).save_pretrained(bert)
    tokenizer = BertTokenizer(vocab={piece: n for n, piece in enumerate(vocabulary)}, model_max_length=WINDOW)
    tokenizer.save_pretrained(bert)

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    transformer = Transformer(str(bert), max_seq_length=WINDOW)
    model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"
