"""Builds a causal language model with random weights, small enough to be made anew for a test."""

from __future__ import annotations

from pathlib import Path

WINDOW = 32  # tokens
TEXT = "the cat went to the school yesterday and did not come home , I am so happy for you and the dog ! "


def make_tiny_gpt2(folder: Path, *, begins: bool = True) -> Path:
    """A GPT-2 of 2 layers with a tokenizer of bytes and some words in `folder`; `begins`: with a token for that."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.set_num_threads(1)  # so small a model only waits for a second thread, on a busy machine 40 times as long
    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    bytewise.train_from_iterator([TEXT * 20], trainer)
    named = {"bos_token": "<|endoftext|>"} if begins else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="<|endoftext|>", **named)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=WINDOW,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,  # of .02 all tokens would be as surprising
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
