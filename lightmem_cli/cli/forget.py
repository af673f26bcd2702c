"""`lightmem forget`: hides what was said in a conversation, so that it can be brought back, or erases it for good."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import (
    HomeOption,
    JsonOption,
    ProfileOption,
    YesOption,
    confirm,
    examples,
    open_chosen,
)
from lightmem_cli.cli.talk import interruptible, notice
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.forget import Aim, Fate

EXAMPLES = examples(
    "lightmem forget D1:3",
    "lightmem forget 3fa9c01b --dry-run",
    "lightmem forget --session session_4 --speaker Gina",
    "lightmem forget D1:3 D1:4 --conversation conv-30 --json",
    "lightmem forget --purge D1:3 --yes",
)

_PLURALS = {"turn": "messages", "fact": "facts", "relation": "relations", "summary": "summaries"}


def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The beginning of an entry's id, or a message's id.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="NAME", help="All of this session.")] = None,
    conversation: Annotated[str | None, typer.Option("--conversation", metavar="NAME", help="All of this one.")] = None,
    speaker: Annotated[str | None, typer.Option("--speaker", metavar="NAME", help="All that they said.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be hidden or erased.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Erase messages for good, from every file.")] = False,
    yes: YesOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hide what was said, or erase it for good.

    A forgotten message is found no more, nor is a fact that rests on it alone, and nothing is made of it again, even if
    it is ingested again. With a forgotten fact go those that were merged into it. The summaries that quote any of this
    go too; the next `lightmem summarize` makes them without it. `lightmem undo` brings all back.
    Options narrow each other and the ids.

    With --purge, messages and all that was made of them are erased, and the files of the memory are written anew, so
    that the words are nowhere in them. Nothing brings them back. Asks on a terminal, needs --yes elsewhere.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.forget import Target, resolve
    from lightmem_cli.engine.purge import resume

    target = Target(ids=tuple(ids or ()), conversation=conversation, session=session, speaker=speaker)
    chosen = open_chosen(profile, home=home)
    with Memory(chosen, notice=notice) as memory:
        finished = purge and not dry_run and resume(memory)
        if finished:
            notice("finished a purge that was cut short")
        try:
            aim = resolve(memory, target)
        except InputError:
            if not finished:
                raise
            return  # of a purged message no speaker is left to find it by
        if purge:
            _purge(memory, aim, dry_run=dry_run, yes=yes, as_json=as_json)
        else:
            _forget(memory, aim, dry_run=dry_run, as_json=as_json)


def _forget(memory: Memory, aim: Aim, *, dry_run: bool, as_json: bool) -> None:
    from lightmem_cli.engine.forget import forget

    done = forget(memory, aim, dry_run=dry_run)
    for fate in (*done.hidden, *done.back):
        _print(fate, text=fate.was.text, as_json=as_json)
    if not done.hidden:
        notice(f"{_what(aim)} forgotten already; nothing was changed")
        return
    if dry_run:
        notice(f"would forget {_counted(done.hidden)}")
    else:
        notice(f"forgot {_counted(done.hidden)}; lightmem undo {done.run} brings them back")
    if done.back:
        notice(_came_back(len(done.back)))
    if done.kept:
        notice(f"{render.counted(done.kept, 'fact')} stay{'s' if done.kept == 1 else ''}: other messages say it too")


def _purge(memory: Memory, aim: Aim, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from lightmem_cli.engine.purge import purge, to_purge, would_purge

    messages = to_purge(memory, aim)
    if not messages:
        notice(f"{_what(aim)} purged already; nothing was changed")
        return
    if dry_run:
        done = would_purge(memory, messages)
        for fate in done.fates:
            _print(fate, text=fate.was.text, as_json=as_json)
        notice(f"would purge {_erased(len(messages), done.fates)}")
        return
    if not confirm(f"Erase {render.counted(len(messages), 'message')} and all that was made of it, for good?", yes=yes):
        notice("kept")
        return
    with interruptible("the next command that writes finishes the purge"):
        done = purge(memory, messages)
    for fate in done.fates:
        _print(fate, text=None if fate.now is None else fate.was.text, as_json=as_json)  # not into the next log file
    notice(f"purged {_erased(len(messages), done.fates)} (a backup made before still holds it)")


def _print(fate: Fate, *, text: str | None, as_json: bool) -> None:
    """One entry and what became of it."""
    entry = fate.was
    now = "purged" if fate.now is None else fate.now.value
    if as_json:
        row = {"id": entry.id, "kind": entry.kind.value, "text": text, "was": entry.state.value, "now": now}
        render.as_json(row)
    else:
        typer.echo(f"{entry.id}  {entry.kind}, {now}{'' if text is None else f': {render.one_line(text)}'}")


def _what(aim: Aim) -> str:
    """What was aimed at, as the beginning of a sentence."""
    names = [message.key.id for message in aim.messages] + [entry.id for entry in aim.entries.values()]
    return f"{names[0]} is" if len(names) == 1 else f"all {len(names):,} are"


def _counted(fates: list[Fate]) -> str:
    """`2 messages, 3 facts and 1 summary`."""
    return _listed(_by_kind(fates))


def _by_kind(fates: list[Fate]) -> list[str]:
    counts = Counter(fate.was.kind.value for fate in fates)
    return [
        f"{counts[kind]:,} {plural if counts[kind] > 1 else 'message' if kind == 'turn' else kind}"
        for kind, plural in _PLURALS.items()
        if counts[kind]
    ]


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _came_back(count: int) -> str:
    return f"{render.counted(count, 'fact')} merged into those came back"


def _erased(messages: int, fates: list[Fate]) -> str:
    """`1 message and 2 facts`, and what came back for them."""
    made = [fate for fate in fates if fate.now is None and fate.was.kind != "turn"]
    back = sum(fate.now is not None for fate in fates)
    counted = _listed([render.counted(messages, "message"), *_by_kind(made)])
    return counted + (f"; {_came_back(back)}" if back else "")
