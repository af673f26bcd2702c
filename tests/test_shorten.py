"""What ended topics lack of shortened texts is made as it would have been with them, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import empty_home, kept, line, opened, take
from process import lightmem
from test_segment import TWO, talks
from test_sensory import Fresh, close, expected, laws, shortened, shortening_with

from lightmem_cli.engine.deep import deep
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.shorten import not_shortened, shorten_rest
from lightmem_cli.records import Message
from lightmem_cli.store.history import History


def lose(home: Path, *, names: Sequence[str]) -> None:
    with closing(History(home / "profiles" / "default" / "history.db")) as history, history.transaction():
        history.connection.executemany(
            "DELETE FROM compressed WHERE message IN (SELECT id FROM messages WHERE name = ?)",
            [(name,) for name in names],
        )


def shorten(home: Path, *, topics: int | None = None) -> list[int]:
    with opened(home) as memory, memory.run("segment"):
        return list(islice(shorten_rest(memory), topics))


@laws
@given(data=st.data())
def test_what_is_lost_is_made_again_as_it_was(data: st.DataObject) -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, data.draw(talks()))
        whole = kept(home)
        names = sorted(name for _, _, name in whole.shortened)
        lost = data.draw(st.sets(st.sampled_from(names))) if names else set()
        lose(home, names=sorted(lost))
        with opened(home) as memory:
            missing = not_shortened(memory)
        assert missing == len(whole.shortened) - len(kept(home).shortened)
        assert sum(shorten(home)) == missing
        assert kept(home) == whole
        assert shorten(home) == []


def test_a_memory_older_than_its_compressor_is_shortened_a_topic_at_a_time() -> None:
    with empty_home() as home:
        with shortening_with(Fresh()) as _, pytest.MonkeyPatch.context() as patch:
            patch.setenv("LIGHTMEM_COMPRESS__USE", "none")
            take(home, TWO)
            assert shorten(home) == [] and not kept(home).shortened
        compressor = Fresh()
        with shortening_with(compressor):
            first = shorten(home, topics=1)  # cut short there
            assert len(shortened(home)) == first[0] == 3
            shorten(home)
            assert len(compressor.topics) == len({topic[0] for topic in compressor.topics}), "none is read twice"
            assert kept(home).shortened == expected(home)


def test_what_is_forgotten_blank_or_still_open_is_left_alone() -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, [*TWO, line(session="z", id="z0", content=" \u00a0\n")], HowToIngest(keep_open=True))
        open_ones = {"a3", "b3"}
        assert not open_ones & shortened(home).keys()
        with opened(home) as memory:
            forget(memory, resolve(memory, Target(ids=("a1",))))
        lose(home, names=["a0", "a1"])
        assert shorten(home) == [1]
        assert not {"a1", "z0", *open_ones} & shortened(home).keys()
        close(home)
        assert "z0" not in shortened(home) and shorten(home) == []


def test_what_is_forgotten_meanwhile_is_left_out() -> None:
    with shortening_with(compressor := Fresh()), empty_home() as home:
        take(home, TWO)
        lose(home, names=["a0", "a1"])

        def forgetting(messages: Sequence[Message]) -> None:
            with opened(home) as other:
                forget(other, resolve(other, Target(ids=("a1",))))

        compressor.before = forgetting
        assert shorten(home) == [1]
        assert "a0" in shortened(home) and "a1" not in shortened(home)


def test_a_topic_that_cannot_be_shortened_holds_up_no_other() -> None:
    with shortening_with(compressor := Fresh()), empty_home() as home:
        take(home, TWO)
        lose(home, names=["a0", "b0"])

        def failing(messages: Sequence[Message]) -> None:
            if messages[0].id == "a0":
                raise ValueError("too odd")

        compressor.before = failing
        said: list[str] = []
        with opened(home, said=said) as memory, memory.run("segment"):
            assert list(shorten_rest(memory)) == [0, 1]
        assert said == ["the topic of message a0 is not shortened: ValueError: too odd"]


def test_doctor_makes_damaged_and_lost_ones_again() -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, TWO)
        whole = kept(home)
        with closing(History(home / "profiles" / "default" / "history.db")) as history, history.transaction():
            history.connection.execute("UPDATE compressed SET text = 'Hm?' WHERE message = 2")
        lose(home, names=["b0"])
        for ends in (["the first is a1: dropped", "2 made again"], []):
            with opened(home) as memory:
                found = [one for one in deep(memory, progress=lambda rows: None) if one.mended or not one.well]
            assert [(one.check, one.mended) for one in found] == [("shortened texts", True)] * len(ends)
            assert all(one.seen.endswith(end) for one, end in zip(found, ends, strict=True))
        assert kept(home) == whole


def test_doctor_names_the_command_where_one_is_only_missing() -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, TWO)
        lose(home, names=["b0"])
        with opened(home) as memory:
            found = deep(memory, progress=lambda rows: None)
        assert not [one for one in found if one.mended or not one.well]
        told = next(one for one in reversed(found) if one.check == "shortened texts")
        assert told.seen == "1 message of an ended topic has none" and told.mend == "lightmem segment"


def test_stats_tell_how_many_are_not_shortened(tmp_path: Path) -> None:
    home = {"LIGHTMEM_HOME": str(tmp_path), "LIGHTMEM_EMBED__USE": "hashing"}
    lightmem("ingest", "-", feed=b"".join(TWO), env=home)
    assert b'"compressed": {"messages": 0, "kept": null}' in lightmem("stats", "--json", env=home).stdout
    assert b"unshortened" not in lightmem("stats", env=home).stdout
    told = lightmem("stats", env=home | {"LIGHTMEM_COMPRESS__USE": "entropy"}).stdout.decode()
    assert f"{len(TWO)}  messages of ended topics are not shortened (lightmem segment)" in told
