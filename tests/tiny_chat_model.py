"""Builds a chat model with random weights and a byte-level tokenizer, small enough to be made anew for a test."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

CONTEXT = 2048  # tokens
TEXT = (
    "the cat went to the school yesterday and did not come home , I am so happy for you and the dog !\n"
    'Caroline: I adopted a greyhound. Melanie: {"facts": [{"of": [1], "text": "Caroline said: yes"}]}\n'
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# As Gemma's and Mistral's first ones: what is told to a system is an error.
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
# As DeepSeek-R1's: the reply begins within a thought, whatever anybody asks for.
THINKS = CHATML.replace("<think>\n\n</think>\n\n", "").replace("assistant\n", "assistant\n<think>\n")


def make_tiny_chat(folder: Path, *, template: str | None = CHATML, context: int = CONTEXT, seed: int = 0) -> Path:
    """A Qwen2 of 2 layers and about 20,000 weights in `folder`, with its tokenizer and chat template; about 0.1 s."""
    import torch
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(1)  # so small a model only waits for a second thread, on a busy machine 40 times as long
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_bytewise(), eos_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    tokenizer.chat_template = template
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 8,  # real ones have rows that no token uses, too
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,  # of .02 all tokens would be alike
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config = GenerationConfig(eos_token_id=ends, temperature=0.7, top_p=0.8, do_sample=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cache
def tiny_chat(template: str | None = CHATML, *, context: int = CONTEXT, seed: int = 0) -> Path:
    """The same, made once for all the tests of a process; read it, do not write into it."""
    return make_tiny_chat(Path(mkdtemp(prefix="tiny-chat-")), template=template, context=context, seed=seed)


def _bytewise() -> object:
    """A tokenizer of all bytes and some words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT * 20, json.dumps({"relations": [], "topics": []})], trainer)
    return made
