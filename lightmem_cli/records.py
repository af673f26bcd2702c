"""Holds the frozen records that travel between the stages of a conversation's life, and derives their identities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias, assert_never


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


Roles: TypeAlias = Literal["user", "assistant", "both"]  # whose messages a stage takes


class Kind(StrEnum):
    TURN = "turn"
    FACT = "fact"
    RELATION = "relation"
    SUMMARY = "summary"


class State(StrEnum):
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    DELETED = "deleted"
    UNSUPPORTED = "unsupported"


class LinkKind(StrEnum):
    SUPERSEDES = "supersedes"
    MERGED_INTO = "merged_into"
    SUMMARIZES = "summarizes"
    CONFLICTS = "conflicts"


class MessageKey(NamedTuple):
    """What identifies a message everywhere: its conversation, its session and its id."""

    conversation: str
    session: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message as a transcript gave it, before the journal completes its identity.

    `origin` is `file:line`, for error messages. None means "the transcript did not say"; content may be "".
    `raw` is the JSON object it was read from, with all its fields, for what prints them again; b"" where there is none.
    """

    content: str
    role: Role = Role.USER
    speaker: str | None = None
    said_at: datetime | None = None
    conversation: str | None = None
    session: str | None = None
    id: str | None = None
    image_caption: str | None = None
    agent: str | None = None
    origin: str = ""
    raw: bytes = field(default=b"", compare=False, repr=False)  # how it was written is not what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One journalled message. `position` counts from 0 within (conversation, session); said_at is aware."""

    conversation: str
    session: str
    id: str
    position: int
    role: Role
    content: str
    speaker: str | None = None
    said_at: datetime | None = None
    image_caption: str | None = None
    agent: str | None = None

    @property
    def key(self) -> MessageKey:
        return MessageKey(self.conversation, self.session, self.id)

    def is_of(self, roles: Roles) -> bool:
        """Whether somebody of `roles` said it: "user" takes users and whoever has a name, "both" no system or tool."""
        match roles:
            case "user":
                return self.role is Role.USER or (self.speaker is not None and self.role is Role.ASSISTANT)
            case "assistant":
                return self.role is Role.ASSISTANT
            case "both":
                return self.role in {Role.USER, Role.ASSISTANT}
            case _:
                assert_never(roles)


@dataclass(frozen=True, slots=True)
class Compressed:
    """A message's content as a language model is sent it, and the fraction of its tokens that was kept, 0 to 1."""

    text: str
    kept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A topic: the messages from `first` to `last` of one session, and why it was cut after them.

    `score` is how clearly it ends there, 0 to 1; None where that was not kept.
    """

    id: str
    conversation: str
    session: str
    first: MessageKey
    last: MessageKey
    cut_by: str
    score: float | None = None


class TimeRange(NamedTuple):
    """From `start` up to but not including `end`, both aware."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Anything retrievable: a turn, a fact, a relation or a summary, with the messages it rests on."""

    id: str
    kind: Kind
    text: str
    conversation: str
    session: str
    sources: tuple[MessageKey, ...]
    speaker: str | None = None
    agent: str | None = None
    said_at: datetime | None = None
    happened: TimeRange | None = None
    valid_until: datetime | None = None
    importance: float = 0.5
    keywords: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    state: State = State.ACTIVE
    pinned: bool = False
    prompt: str | None = None
    model: str | None = None
    recorded_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A directed relation between two entries, by their ids."""

    source: str
    target: str
    kind: LinkKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A vector space: vectors of different spaces are never compared."""

    name: str
    revision: str
    dimension: int

    @property
    def slug(self) -> str:
        """A name fit for a directory: letters, digits, dots and hyphens."""
        plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in self.name).strip("-")[-48:]
        return f"{plain}-{_digest([self.name, self.revision, str(self.dimension)], size=4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries a search may return; an empty tuple or None leaves that field open."""

    kinds: tuple[Kind, ...] = ()
    speakers: tuple[str, ...] = ()
    conversation: str | None = None
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    states: tuple[State, ...] = (State.ACTIVE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One found entry; rank counts from 1, `signals` holds the part each signal played in the score."""

    entry: Entry
    rank: int
    score: float
    signals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What language-model calls cost, in tokens."""

    calls: int = 0
    prompt_tokens: int = 0  # those that the server had read before, `cached_tokens`, included
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and the hits it cites, by first mention; `numbers` are the [n] marks that it cites them with.

    `found`: whether the memory holds an answer at all. `model` is None without a language model.
    """

    text: str
    citations: tuple[Hit, ...] = ()
    numbers: tuple[int, ...] = ()
    found: bool = True
    model: str | None = None
    usage: Usage = Usage()


def entry_id(
    kind: Kind, conversation: str, session: str, text: str, sources: Iterable[MessageKey], *, length: int = 12
) -> str:
    """Derive an entry's id, once, at birth: `length` hexadecimal characters (longer only on collision)."""
    parts = [kind, conversation, session, text, *(part for key in sources for part in key)]
    return _digest(parts, size=32)[:length]


def message_id(row: Row, session: str, *, occurrence: int) -> str:
    """Derive the id of a row that came without one; `occurrence` counts equal rows of its session from 1."""
    said_at = "" if row.said_at is None else row.said_at.isoformat()
    return "m" + _digest([session, said_at, row.speaker or "", row.role, row_text(row), str(occurrence)], size=8)


def session_name(row: Row) -> str:
    """Name a session that came without a name after its first row."""
    said_at = "" if row.said_at is None else row.said_at.isoformat()
    parts = [row.conversation or "", row.id or "", said_at, row.speaker or "", row.role, row_text(row)]
    return "s" + _digest(parts, size=6)


def row_text(row: Row | Message) -> str:
    """All that a message says: its content and its image's caption."""
    return row.content if not row.image_caption else f"{row.content}\n[{row.image_caption}]"


def _digest(parts: Sequence[str], *, size: int) -> str:
    """Hash `parts` unambiguously (each is preceded by its length) to 2 × `size` hexadecimal characters."""
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
