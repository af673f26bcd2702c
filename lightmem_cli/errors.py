"""Names everything that can go wrong with a memory, each with a hint that mends it and an exit code.

LightmemError
├── InputError (2)        a transcript, a file or an argument is wrong
├── ProfileError (2)      a profile is unknown, broken or misnamed
├── StoreError (3)        history or an index cannot be read or written
│   └── SpaceMismatch (3) a query in another vector space than the index
├── MissingPart (4)       a model or an optional package is not there
├── ModelError (5)        the language model failed; nothing was lost
│   ├── Unavailable (5)   nobody answers, or whoever does refuses us: to ask for something else would not help now
│   ├── Rejected (5)      a server's no to this one prompt: another may well be answered
│   ├── HalfRead (5)      a server read only a part of a prompt, and has more room for it the next time
│   ├── TooLong (5)       a prompt and its reply are more than the model reads at once
│   └── BadReply (5)      a reply that does not say what was asked for
└── ProfileBusy (75)      another process holds the profile: try again
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    BUG = 1
    INPUT = 2
    STORE = 3
    MISSING = 4
    MODEL = 5
    BUSY = 75
    INTERRUPTED = 130


class LightmemError(Exception):
    """One line that says what is wrong, and a `hint` with the command that mends it."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(LightmemError):
    exit_code = ExitCode.INPUT


class ProfileError(LightmemError):
    exit_code = ExitCode.INPUT


class StoreError(LightmemError):
    exit_code = ExitCode.STORE


class SpaceMismatch(StoreError):
    pass


class MissingPart(LightmemError):
    exit_code = ExitCode.MISSING


class ModelError(LightmemError):
    """`paid` are the tokens of a prompt and of what came of its reply, where a server did its work all the same."""

    exit_code = ExitCode.MODEL

    def __init__(self, message: str, *, hint: str | None = None, paid: tuple[int, int] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.paid = paid


class Unavailable(ModelError):
    pass


class Rejected(ModelError):
    pass


class HalfRead(ModelError):
    """Asked again, the prompt and its reply take `room` tokens at most."""

    def __init__(self, message: str, *, hint: str | None = None, paid: tuple[int, int], room: int) -> None:
        super().__init__(message, hint=hint, paid=paid)
        self.room = room


class TooLong(ModelError):
    pass


class BadReply(ModelError):
    pass


class ProfileBusy(LightmemError):
    exit_code = ExitCode.BUSY
