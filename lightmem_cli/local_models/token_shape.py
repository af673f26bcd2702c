"""Reads from its config.json what kind of token classifier is to read a conversation, and refuses other models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from lightmem_cli.errors import MissingPart

Family: TypeAlias = Literal["bert", "xlm-roberta"]

WITHOUT: Final = "without it: lightmem config set compress.use entropy, and segment.use similarity"
_MOST: Final = 512  # tokens of a window, with the special ones at its edges: what LLMLingua-2 was trained on


@dataclass(frozen=True, slots=True)
class Shape:
    """What the weights mean: sizes, and where positions start."""

    family: Family
    layers: int
    heads: int
    width: int
    inner: int  # of the feed-forward part
    vocabulary: int
    types: int  # of token-type embeddings; only the first is used
    positions: int  # rows of the table of positions
    first_position: int  # the row of a window's first token: XLM-R's table starts with padding
    epsilon: float  # of layer normalisation
    activation: str

    @property
    def window(self) -> int:
        """The most tokens of a window, with the special ones at its edges."""
        return min(_MOST, self.positions - self.first_position)


def read_shape(folder: Path, *, without: str = WITHOUT) -> Shape:
    """The shape of the model in `folder`. `without` says how to do without it, where it is not right.

    Raises:
        MissingPart: it is no token classifier with two labels of BERT's or XLM-RoBERTa's kind.
    """
    config = _config(folder, without=without)
    family = _family(config, folder, without=without)
    try:
        shape = Shape(
            family=family,
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            width=int(config["hidden_size"]),
            inner=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            types=int(config.get("type_vocab_size", 2)),
            positions=int(config["max_position_embeddings"]),
            first_position=0 if family == "bert" else int(config.get("pad_token_id", 1)) + 1,
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            activation=str(config.get("hidden_act", "gelu")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MissingPart(f"{folder / 'config.json'} does not give the model's sizes: {error}", hint=without) from error
    sizes = (shape.layers, shape.heads, shape.width, shape.inner, shape.vocabulary, shape.types, shape.window - 2)
    if min(sizes) < 1 or shape.width % shape.heads:
        raise MissingPart(f"{folder / 'config.json'} gives sizes that no model can have", hint=without)
    return shape


def _config(folder: Path, *, without: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise MissingPart(f"{folder} holds no model: it has no config.json", hint=without) from None
    except (OSError, ValueError) as error:
        raise MissingPart(f"cannot read {path}: {error}", hint=without) from error
    if not isinstance(config, dict):
        raise MissingPart(f"cannot read {path}: it is not an object", hint=without)
    return config


def _family(config: dict[str, Any], folder: Path, *, without: str) -> Family:
    kind = config.get("model_type")
    architectures = config.get("architectures")
    named = ", ".join(map(str, architectures)) if isinstance(architectures, list) and architectures else ""
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
    wanted = "a token classifier with 2 labels"
    if not named.endswith("ForTokenClassification"):
        raise MissingPart(f"{folder} holds {named or f'a {kind} model'}, not {wanted}", hint=without)
    if count != 2:
        raise MissingPart(f"{folder} holds a {named} with {count} labels, not {wanted}", hint=without)
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise MissingPart(f"{folder} holds a model with relative positions, which are not supported", hint=without)
    if kind == "bert":
        return "bert"
    if kind == "xlm-roberta":
        return "xlm-roberta"
    wanted = "one of BERT's or XLM-RoBERTa's kind"
    raise MissingPart(f"{folder} holds a {kind} model ({named}), not {wanted}", hint=without)


def attentive_layers(layers: int) -> int:
    """How many layers, from the last, attention is the mean of: the last third, rounded up."""
    return -(-layers // 3)
