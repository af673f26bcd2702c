"""Joins the stages of a conversation's life over one open profile: ingest, recall and care."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Final

from lightmem_cli.engine.indexes import Indexes
from lightmem_cli.engine.sensory import Sensory
from lightmem_cli.errors import LightmemError, ProfileBusy, ProfileError, SpaceMismatch, StoreError
from lightmem_cli.profiles import Profile
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Embedder, Extractor, LanguageModel, Progress, Remembered, Segmenter
from lightmem_cli.records import Space
from lightmem_cli.store.history import History

NO_LOCKS: Final = (
    "this file system has no working locks: run one command at a time on this memory, or two may damage it, or ask a"
    " language model for the same"
)


@dataclass(slots=True)
class Budget:
    """Tokens that may be spent, prompts and replies together; `spent` grows with each reply.

    `reserved` is the most that calls under way may cost. `rate` is the most tokens that the server counted for one of
    ours, in a long prompt; 0 before one was asked. `extra` are those that it puts around each, None before it replied.
    """

    tokens: int
    spent: int = 0
    reserved: int = 0
    rate: float = 0
    extra: float | None = None


class Memory:
    """One open profile: its history, its indexes and, when first needed, its models.

    `notice` gets one line for the person who waits, whenever something takes long or was mended. A `reader` waits for
    no other process: what a writer is about to finish, it does without.
    """

    def __init__(self, profile: Profile, *, notice: Progress, reader: bool = False) -> None:
        self.profile = profile
        self.settings = profile.settings
        self.notice = notice
        self.history = History(profile.folder / "history.db")
        # Where each session's open topic began when it was last looked at, and how many turns it had.
        self.looked_at: dict[tuple[str, str], tuple[int, int]] = {}
        self.indexes = Indexes(profile, self.history, notice=notice, reader=reader)
        self.often = False  # whether this command runs after every turn, and so must not cost again and again
        self._told_of_locks = False
        self.budget: Budget | None = None  # of tokens for the language model; None: as many as it takes

    @cached_property
    def embedder(self) -> Embedder:
        return embedder_of(self.settings, notice=self.notice)

    @cached_property
    def extractor(self) -> Extractor | None:
        """What extracts from one message after the other; None where a language model reads many at once."""
        from lightmem_cli.extract import open_extractor

        extract = self.settings.extract
        return open_extractor(extract.use, roles=extract.roles, threshold=extract.threshold)

    @cached_property
    def sensory(self) -> Sensory:
        return Sensory(self.settings, notice=self.notice)

    @property
    def remembered(self) -> Remembered:
        """What was found out about language models and their servers, as history keeps it."""
        return _Servers(self.history)

    @cached_property
    def model(self) -> LanguageModel:
        """The language model.

        Raises:
            ProfileError: the profile names none.
            MissingPart: what opens without a server is not on this machine: a model's folder, a key.
        """
        from lightmem_cli.llm import open_language_model

        model = open_language_model(self.settings.llm, notice=self.notice, remembered=self.remembered)
        if model is None:
            raise ProfileError(
                'no language model is set (llm.use = "none")',
                hint="lightmem config set llm.use ollama, and lightmem config set llm.model NAME",
            )
        return model

    @property
    def segmenter(self) -> Segmenter:
        segmenter = self.sensory.segmenter
        assert segmenter is not None, "a profile that cuts no topics has no segmenter"
        return segmenter

    def space(self) -> tuple[int, Space]:
        """The profile's vector space with history's integer; it becomes the active one if there is none.

        Raises:
            SpaceMismatch: the vectors in history are of another space than the profile's embedder.
        """
        wanted = self.embedder.space
        active = self.history.vectors.active_space()
        if active is None:
            with self.history.transaction():
                return self.history.vectors.space_id(wanted), wanted
        if active[1] != wanted:
            variables = sorted(name for name in os.environ if name.startswith("LIGHTMEM_EMBED__"))
            undo = f"unset {' '.join(variables)}, or " if variables else ""
            raise SpaceMismatch(
                f"this memory's vectors are of {_named(active[1])}, the profile's embedder makes {_named(wanted)}",
                hint=f"{undo}lightmem reindex --profile {self.profile.name}",
            )
        return active

    @contextmanager
    def run(self, command: str) -> Iterator[int]:
        """One command that writes: a row in `runs`, dead owners' work freed, this one's given back at the end."""
        self.indexes.check(self.history.vectors.active_space())
        with self.history.transaction():
            run = self.history.runs.begin(command)
            self.often = command == "ingest"  # a hook does so after every turn
            self.history.work.reopen(often=self.often)
        if not (self._told_of_locks or self.history.work.locks_work):
            self._told_of_locks = True
            self.notice(NO_LOCKS)
        outcome = "interrupted"
        try:
            if command != "purge":
                self._finish_purge()
            yield run
            outcome = "done"
        except LightmemError as error:
            outcome = f"failed: {error.message}"
            raise
        finally:
            with self.history.transaction():
                self.history.work.release()
                self.history.runs.end(run, outcome)

    def _finish_purge(self) -> None:
        """Scrub from the disk what a purge that was cut short left there, unless another process is at work."""
        if self.history.purge.unfinished() is None or self.history.work.owners():
            return
        from lightmem_cli.engine.purge import scrub

        self.notice("finishing a purge that was cut short")
        try:
            with self.history.impatient():
                scrub(self)
        except (ProfileBusy, StoreError) as reason:
            self.notice(f"{reason.message} (the next command that writes tries again)")

    def close(self) -> None:
        if "model" in self.__dict__:
            self.model.close()
        self.indexes.close()
        self.history.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):  # a read outside a transaction met a damaged or locked file
            raise self.history.explained(error) from error


class _Servers:
    """What was found out about servers, as history keeps it."""

    def __init__(self, history: History) -> None:
        self._history = history

    def remembered(self, key: str) -> str | None:
        return self._history.calls.remembered(key)

    def remember(self, key: str, value: str) -> None:
        """Keep `value`, unless another process is writing: then it is found out anew."""
        with suppress(ProfileBusy, StoreError), self._history.impatient(seconds=1), self._history.transaction():
            self._history.calls.remember(key, value)


def embedder_of(settings: Settings, *, notice: Progress) -> Embedder:
    """Open the embedder that a profile names."""
    from lightmem_cli.embed import open_embedder

    embed = settings.embed
    return open_embedder(
        embed.use,
        model=embed.model,
        device=embed.device,
        precision=embed.precision,
        workers=embed.workers or None,
        progress=notice,
    )


def _named(space: Space) -> str:
    return f"{space.name} ({space.revision}, {space.dimension} dimensions)"
