"""Words what a language model is asked of a conversation: its evidence, what was asked before, and the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lightmem_cli.ask.evidence import Packed
from lightmem_cli.ask.plain import Count, shortened
from lightmem_cli.ask.reply import without_marks
from lightmem_cli.language.data import as_data
from lightmem_cli.language.stop_words import stop_words
from lightmem_cli.language.words import analyze
from lightmem_cli.prompts import load
from lightmem_cli.protocols import Prompt

_MOST_EARLIER = 400  # tokens of earlier questions and answers
_LONGEST_EARLIER = 120  # of one of them
_LONGEST_AFTER = 200  # characters of an earlier answer with which a question is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer, "" where there was none; `messages` are history's integers of those it rests on."""

    question: str
    answer: str
    messages: tuple[int, ...] = ()

    @property
    def bare_answer(self) -> str:
        """The answer without its marks: what they numbered then is numbered otherwise now."""
        return without_marks(self.answer)


def prompt(
    packed: Packed, *, question: str, asked_at: datetime | None, earlier: Sequence[Exchange] = (), count: Count
) -> Prompt:
    """What a model is asked. Nothing that is told in it ends the data it stands in, or begins a line of its own."""
    parts = [f"<memory>\n{packed.lines}\n</memory>" if packed.lines else "<memory>\n</memory>"]
    if before := _before(earlier, count=count):
        parts.append(f"What the question may refer to, asked and answered before:\n<earlier>\n{before}\n</earlier>")
    day = f", asked on {asked_at:%Y-%m-%d %a}" if asked_at else ""
    parts.append(f"Question{day}: {as_data(question)}")
    return Prompt(load("answer").prefix(), "\n\n".join(parts))


def searched_for(question: str, earlier: Sequence[Exchange], *, language: str) -> list[str]:
    """What to look for: `question` together with what was asked and answered last, and, if it says enough, alone.

    "And when was that?" has no words of its own: there it is the evidence of the last question that is wanted again.
    """
    if not earlier:
        return [question]
    last = earlier[-1]
    before = [last.question, last.bare_answer[:_LONGEST_AFTER]]
    if stop_words(language).issuperset(analyze(question, language="none")):
        return ["\n".join(filter(None, before))]
    return ["\n".join(filter(None, [question, *before])), question]


def recent(earlier: Sequence[Exchange], *, count: Count) -> list[Exchange]:
    """The last exchanges that a prompt has room for."""
    kept: list[Exchange] = []
    left = _MOST_EARLIER
    for one in reversed(earlier):
        left -= count(_told(one, count=count)) + 1
        if left < 0:
            break
        kept.insert(0, one)
    return kept


def _before(earlier: Sequence[Exchange], *, count: Count) -> str:
    return "\n".join(_told(one, count=count) for one in recent(earlier, count=count))


def _told(one: Exchange, *, count: Count) -> str:
    parts = (("Q", one.question), ("A", one.bare_answer))
    return "\n".join(
        f"{mark}: {shortened(as_data(text), most=_LONGEST_EARLIER, count=count)}"
        for mark, text in parts
        if as_data(text)
    )
