"""Splits what was said into the tokens a model reads, and remembers which characters each stands for."""

from __future__ import annotations

import string
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.surrogates import well_formed
from lightmem_cli.local_models.token_shape import WITHOUT, Family, Shape
from lightmem_cli.protocols import Pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Texts are split to fill a window, again to read it, and again to shorten it: so many are remembered, of so many
# characters in all, some 50 MB of tokens. A longer text is not.
_REMEMBERED: Final = 256
_MOST_CHARACTERS: Final = 1_000_000
_EDGES: Final[dict[Family, tuple[str, str]]] = {"bert": ("[CLS]", "[SEP]"), "xlm-roberta": ("<s>", "</s>")}
_SENTENCE_ENDS: Final = frozenset(".!?。！？\n")


class Splitter:
    """A model's tokenizer: the `tokenizers` library alone, which costs 20 ms where transformers costs seconds.

    What was said is text: "[SEP]" in a message is five characters, not the end of a window. (XLM-R's vocabulary has
    "</s>" among the pieces of text too.) With `exact` the special tokens are as the llmlingua package has them: those
    in a text are special, and the edges of an XLM-R window are unknown words, because it looks for BERT's.
    """

    def __init__(self, folder: Path, *, shape: Shape, exact: bool, without: str = WITHOUT) -> None:
        """`without` says how to do without the model, where its tokenizer is not right."""
        self._without = without
        self._family: Final = shape.family
        self._tokenizer = _open(folder, without=without)
        self._tokenizer.encode_special_tokens = not exact
        self._edges = self._special_edges(folder, exact=exact)
        self._begin: dict[int, bool] = {}
        self._known: OrderedDict[str, Pieces] = OrderedDict()
        self._characters = 0  # of those
        if self._tokenizer.get_vocab_size() > shape.vocabulary:
            sizes = f"{self._tokenizer.get_vocab_size()} tokens, its weights {shape.vocabulary}"
            raise MissingPart(f"the tokenizer of {folder} has {sizes}", hint=without)

    @property
    def edges(self) -> tuple[int, int]:
        """The special tokens before and behind a window's text."""
        return self._edges

    def pieces(self, text: str) -> Pieces:
        """`text` as tokens, without special ones at the edges; each character belongs to one token at most."""
        if text in self._known:
            self._known.move_to_end(text)
            return self._known[text]
        encoding = self._tokenizer.encode(well_formed(text), add_special_tokens=False)
        ids = tuple(encoding.ids)
        begins = tuple(n == 0 or self._begins(piece) for n, piece in enumerate(ids))
        pieces = Pieces(ids, _disjoint(encoding.offsets), begins)
        if len(text) <= _MOST_CHARACTERS:
            self._known[text] = pieces
            self._characters += len(text)
            while len(self._known) > _REMEMBERED or self._characters > _MOST_CHARACTERS:
                oldest, _ = self._known.popitem(last=False)
                self._characters -= len(oldest)
        return pieces

    def ends_sentence(self, piece: int) -> bool:
        """Whether a sentence may end with this token."""
        return (self._tokenizer.id_to_token(piece) or "").lstrip("▁#") in _SENTENCE_ENDS

    def _begins(self, piece: int) -> bool:
        """Whether a word begins with this token, by the llmlingua package's rule."""
        if piece not in self._begin:
            token = self._tokenizer.id_to_token(piece) or ""
            match self._family:
                case "bert":
                    begins = not token.startswith("##")
                case "xlm-roberta":
                    begins = token.startswith("▁") or token in string.punctuation
                case _:
                    assert_never(self._family)
            self._begin[piece] = begins
        return self._begin[piece]

    def _special_edges(self, folder: Path, *, exact: bool) -> tuple[int, int]:
        names = _EDGES["bert"] if exact else _EDGES[self._family]
        unknown = self._tokenizer.token_to_id("<unk>") if exact else None
        found = [self._tokenizer.token_to_id(name) for name in names]
        before, behind = (unknown if edge is None else edge for edge in found)
        if before is None or behind is None:
            raise MissingPart(f"the tokenizer of {folder} has no {' and '.join(names)}", hint=self._without)
        return before, behind


def _open(folder: Path, *, without: str) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        convert = (
            f"from transformers import AutoTokenizer as A; A.from_pretrained('{folder}').save_pretrained('{folder}')"
        )
        hint = f'python -c "{convert}"    ({without})'
        raise MissingPart(f"{folder} has no fast tokenizer: there is no tokenizer.json", hint=hint)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise MissingPart(f"cannot read {path}: {error}", hint=without) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _disjoint(offsets: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """`offsets` such that no two tokens share a character and none goes back.

    XLM-R gives a lone ▁ the first character of the word behind it, and all tokens of "㎏" the one character: a
    character that several tokens stand for belongs to the last of them, and the others are empty.
    """
    spans: list[tuple[int, int]] = []
    bound = offsets[-1][1] if offsets else 0
    for begin, stop in reversed(offsets):
        end = min(stop, bound)
        bound = min(begin, end)
        spans.append((bound, end))
    return tuple(reversed(spans))
