"""Leaves out of a reply what a model only thought about the conversation, and says what thinking costs.

Thoughts in the reply stand between <think> and </think>. Servers count them, wherever they stand, within the limit of
tokens that they are given: so where a model is told to think, it gets more than the reply may have.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Llm
    from lightmem_cli.protocols import Progress

ROOM: Final = 2000  # tokens of a reply's thoughts: what is extracted from a page takes some hundreds, a riddle more

_BEGINS: Final = "<think>"
_ENDS: Final = "</think>"


def room_to_think(llm: Llm) -> int:
    """The tokens that a call may have for thoughts; none where the settings do not say that the model is to think."""
    return 0 if llm.thinking in ("auto", "off") else ROOM


def only_thought(name: str) -> str:
    """What a person is told of a model that said nothing in the end."""
    hint = "lightmem config set llm.thinking off"
    return f"{name} thought until its tokens were used up, and said nothing: {hint}"


def once(notice: Progress) -> Progress:
    """A `notice` that says each line a single time, whichever threads have it to say."""
    lock, said = Lock(), set[str]()

    def tell(line: str) -> None:
        with lock:
            known = line in said
            said.add(line)
        if not known:
            notice(line)

    return tell


class Aloud:
    """Passes on what a reply says aloud, as its text comes in pieces of any length.

    Only a reply that begins with a thought has one: the words may be quoted later. `thinks`: it begins within one.
    """

    def __init__(self, *, thinks: bool = False) -> None:
        self._held = _BEGINS if thinks else ""
        self._aloud = False

    def piece(self, text: str) -> str:
        """What of `text`, and of what was held back before it, is said aloud."""
        if self._aloud:
            return text
        self._held += text
        begun = self._held.lstrip()
        if begun.startswith(_BEGINS):
            said = begun.partition(_ENDS)[2].lstrip()
        else:
            said = "" if _BEGINS.startswith(begun) else self._held
        self._aloud = bool(said)
        return said

    def rest(self) -> str:
        """What was held back and turned out to be no thought, once the reply has ended."""
        return "" if self._aloud or self._held.lstrip().startswith(_BEGINS) else self._held
