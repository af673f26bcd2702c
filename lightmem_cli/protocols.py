"""States what a backend must do to serve a conversation, so that each can be replaced by deleting one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from lightmem_cli.records import Compressed, Entry, Filter, Message, Space, Usage

if TYPE_CHECKING:  # numpy costs 0.15 s, and `lightmem --help` reads this module
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]
    Ids: TypeAlias = NDArray[np.int64]


Progress: TypeAlias = Callable[[str], None]  # one line for the person who waits


class Embedder(Protocol):
    """Turns text into unit vectors. A vector is a function of its text alone, bit for bit."""

    @property
    def space(self) -> Space: ...

    def windows(self, text: str) -> list[str]:
        """`text` itself where it fits the model's window, else overlapping pieces of it; [] where it is blank."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, float32, shape (len(texts), dimension)."""
        ...


class Extractor(Protocol):
    """Turns messages into the entries (facts, relations) that rest on them."""

    def extract(self, messages: Sequence[Message]) -> list[Entry]: ...


@dataclass(frozen=True, slots=True)
class Spoken:
    """A message as a segmenter reads it, with the unit mean of its sentences' vectors, float32, shape (dimension,).

    The vector is None where the message says nothing, or nobody embedded it.
    """

    message: Message
    vector: Vectors | None


class Gap(NamedTuple):
    """Behind the turn at index `after`: how clearly a topic ends there (0 to 1), and, where one does, what cuts it."""

    after: int
    score: float
    by: str | None


class Segmenter(Protocol):
    """Cuts one stretch of talk, a session without long silences, into topics.

    Whether it cuts behind a turn depends on that turn, on up to `lookback` turns before it, on where the topic began
    that was open when it was decided, and on what is said next, up to a fixed number of turns or tokens: what comes
    later moves no cut.
    """

    @property
    def lookback(self) -> int: ...

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        """The gaps from `start` on, where the open topic began, one by one; turns before it are there to be read.

        Only those that can be decided: with enough said behind them, or all where the talk has `ended`. Never the one
        behind the last turn. All gaps of one call belong together: whoever keeps some of them keeps them all, since
        those behind a cut may have been decided with it, from the same `start`.
        """
        ...


class Pieces(NamedTuple):
    """A text as a model's tokens: their ids, the characters of the text that each stands for, and where words begin.

    `spans` are (begin, end) in the text, `begins` says of each token whether it is the first of a word; all have one
    length.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    begins: tuple[bool, ...]


class Reading(NamedTuple):
    """What one forward pass says of the messages of a window.

    `keep` has for each message the probability of each of its tokens to be kept, float32, shape (tokens,). `attention`
    is how much each token of the window attends to each, float32, shape (all tokens, all tokens): the mean over the
    heads of the last third of the layers, without the special tokens at the window's edges, its rows summing to 1; None
    where nobody asked for it.
    """

    keep: list[Vectors]
    attention: Vectors | None


class TokenReader(Protocol):
    """A token-classification model that reads a window of messages in one forward pass."""

    @property
    def limit(self) -> int:
        """How many tokens of text one window holds."""
        ...

    @property
    def passes(self) -> int:
        """The forward passes so far."""
        ...

    def pieces(self, text: str) -> Pieces: ...

    def read(self, messages: Sequence[Message], *, attention: bool = False) -> Reading:
        """Read the contents of `messages` as one window.

        Messages that were read lately, next to each other in one window, are not read again; but attention is always
        that within `messages`, whatever was read before. A single message longer than a window is read in parts, and
        has no attention.

        Raises:
            ValueError: several messages, that are longer than a window.
        """
        ...


class Compressor(Protocol):
    """Shortens messages for a language model. Only what a model is sent is ever shortened."""

    @property
    def name(self) -> str:
        """What a shortened text is made with: the backend, its model and settings. Another name, another text."""
        ...

    def filled(self, messages: Sequence[Message]) -> int:
        """How many of the first `messages` fill what is shortened together; 0 where more of them would fit."""
        ...

    def compress(self, messages: Sequence[Message]) -> list[Compressed]:
        """Each of `messages`, which follow each other in one session, as it is to be sent.

        What becomes of one may depend on what the same window of a model held: also on messages beside these, where
        their window was read lately, and is remembered.
        """
        ...


class Prompt(NamedTuple):
    """What a language model is asked.

    `prefix` is the same for every call of its kind, to the last character: a server need not read it again.
    """

    prefix: str
    body: str


JsonSchema: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a language model said, what that cost, and how many seconds it took, waits between tries not counted.

    Where it is not `whole`, it ran into the limit of tokens and was cut off.
    """

    text: str
    usage: Usage
    seconds: float
    whole: bool = True


class LanguageModel(Protocol):
    """A language model, wherever it runs. Several threads ask it at once."""

    @property
    def name(self) -> str:
        """The backend and the model, as entries name what made them: "ollama/llama3.2"."""
        ...

    @property
    def manner(self) -> str:
        """What decides its replies beside the prompt: temperature, thinking, options. Another manner, another reply."""
        ...

    @property
    def context(self) -> int:
        """How many tokens a prompt and its reply may take together; 0 where nobody knows. May ask the server, once."""
        ...

    @property
    def thoughts(self) -> int:
        """How many tokens a call may cost beside prompt and reply: those of what is thought before it is said."""
        ...

    def tokens(self, text: str) -> int:
        """How many tokens `text` is: by the model's tokenizer where that is here, else characters / 4."""
        ...

    def complete(
        self,
        prompt: Prompt,
        *,
        most: int,
        schema: JsonSchema | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Reply:
        """Ask once, trying again what is worth it. The reply has at most `most` tokens, and is JSON of `schema`.

        What is thought before it may have `thoughts` besides. The schema is kept as far as whoever serves the model
        can: the reply is to be checked. `tell` gets the reply piece by piece while it comes, in this thread; once it
        got one, nothing is tried again.

        Raises:
            Unavailable, MissingPart: nobody answers, the key is refused, the model is not there.
            TooLong: prompt and reply do not fit the model's context.
            BadReply: what came back cannot be read at all.
            Rejected: the server says no to this one prompt, whenever it is asked.
            HalfRead: it read only a part of the prompt; asked again, it has more room.
            ModelError: this one prompt failed, as often as it was tried; or the model was closed meanwhile.
                What was `paid` all the same is not tried again here: the caller may, within its budget.
        """
        ...

    def probe(self) -> str:
        """What a person is told of the model: its size, its context. Raises Unavailable or MissingPart with a hint."""
        ...

    def close(self) -> None: ...


class Remembered(Protocol):
    """Keeps from run to run what was found out about a server. Only the thread that opens and closes a model asks."""

    def remembered(self, key: str) -> str | None: ...

    def remember(self, key: str, value: str) -> None: ...


class Selection(NamedTuple):
    """The ids a search may return: exactly `ids`, or (`inverted`) all but `ids`. Sorted int64, shape (n,)."""

    ids: Ids
    inverted: bool


class Scored(NamedTuple):
    """Ids with their scores, best first (ties by id): int64 and float32, shape (n,)."""

    ids: Ids
    scores: Vectors


@dataclass(frozen=True, slots=True)
class Document:
    """What the words index keeps of an entry: history's integer for it, and its analysed terms."""

    id: int
    terms: tuple[str, ...]


_Row = TypeVar("_Row")


class Contents(NamedTuple, Generic[_Row]):
    """All that an index held at one moment: its position then, and its rows by rising id, read as they are asked for.

    What is written meanwhile, by this process or another, does not show.
    """

    position: int
    rows: Iterator[_Row]


class VectorIndex(Protocol):
    """Inner product over unit vectors, by history's integer ids of the vectors. Derived: it can be rebuilt.

    `position` is the place in history's append-only `changes` table up to which the index is current.
    """

    @property
    def position(self) -> int: ...

    def __len__(self) -> int: ...

    def search(self, vector: Vectors, k: int, where: Filter | None = None) -> Scored:
        """The `k` best vectors for `vector`, shape (dimension,), among those whose entry passes `where`."""
        ...

    def apply(self, *, add: Iterable[tuple[int, bytes]], remove: Sequence[int], position: int) -> None:
        """Take in new vectors (id, float16 little-endian bytes), drop removed ones, and stamp `position`."""
        ...

    def contents(self) -> Contents[tuple[int, bytes]]:
        """Every vector, as `apply` took it in. Raises IndexBroken where parts of the index contradict each other."""
        ...

    def close(self) -> None: ...


class WordIndex(Protocol):
    """BM25 over entries' analysed terms, by history's integer ids of the entries. Derived: it can be rebuilt."""

    @property
    def position(self) -> int: ...

    def __len__(self) -> int: ...

    def search(self, terms: Sequence[str], k: int, where: Filter | None = None) -> Scored:
        """The `k` best entries for the distinct `terms`, BM25 with k1 = 1.2 and b = 0.75 over the whole corpus."""
        ...

    def apply(self, *, add: Iterable[Document], remove: Sequence[int], position: int) -> None:
        """Take in new or changed documents, drop removed ones, and stamp `position`, in one step."""
        ...

    def contents(self) -> Contents[Document]:
        """Every document, as `apply` took it in. Raises IndexBroken where parts of the index contradict each other."""
        ...

    def close(self) -> None: ...


Select: TypeAlias = "Callable[[Filter], Selection | None]"  # None: the filter leaves out nothing
