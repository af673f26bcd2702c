from __future__ import annotations

import numpy as np
import pytest

from lightmem_cli.retrieve.fuse import RADIUS, WEIGHTS, Turns, weigh_gap, weigh_length, weigh_turns


def turns(
    positions: list[int],
    *,
    sessions: list[int] | None = None,
    characters: float = 100.0,
    terms: list[list[float]] | None = None,
) -> Turns:
    n = len(positions)
    means = np.eye(n, 4, dtype=np.float32)
    return Turns(
        sessions=np.array(sessions or [0] * n, np.int64),
        positions=np.array(positions, np.int64),
        characters=np.full(n, characters),
        sentence=means[:, 0].astype(np.float64),
        means=means,
        terms=np.array(terms if terms is not None else [[0.0] * n]),
        best_terms=np.array([1.0] * len(terms or [[]])),
    )


QUERY = np.array([1, 0, 0, 0], np.float32)


def test_a_neighbour_lends_less_the_further_it_stands_and_nothing_across_gaps_or_sessions() -> None:
    words = weigh_turns(turns([0, 1, 2, 3], terms=[[1.0, 0, 0, 0]]), None)["words"]
    assert words[0] == 1.0
    assert words[0] > words[1] > words[2] > words[3] == 0
    assert weigh_turns(turns([0, 5], terms=[[1.0, 0]]), None)["words"][1] == 0
    assert weigh_turns(turns([0, 1], sessions=[0, 1], terms=[[1.0, 0]]), None)["words"][1] == 0


def test_a_term_counts_no_more_for_being_said_all_around() -> None:
    once = weigh_turns(turns([0, 1, 2], terms=[[0, 1.0, 0], [0, 1.0, 0]]), None)["words"][1]
    often = weigh_turns(turns([0, 1, 2], terms=[[1.0, 1.0, 1.0], [0, 0, 0]]), None)["words"][1]
    assert once > often


def test_the_surroundings_of_a_match_are_lifted_by_vectors() -> None:
    signals = weigh_turns(turns([0, 1, 2, 9]), QUERY)
    for name in ("around", "passage"):
        assert signals[name][1] > signals[name][3]
    assert signals["turn"].tolist() == [1, 0, 0, 0]


def test_a_long_turn_is_its_own_surroundings() -> None:
    short = weigh_turns(turns([0, 1], terms=[[1.0, 0]]), QUERY)
    long = weigh_turns(turns([0, 1], terms=[[1.0, 0]], characters=10_000.0), QUERY)
    for name in ("words", "around", "passage"):
        assert long[name][1] < 0.1 * short[name][1]
        assert long[name][0] == pytest.approx(1.0, abs=0.01)


def test_turns_without_vectors_take_the_middle() -> None:
    some = turns([0, 1, 2])
    some.sentence[2] = np.nan
    some.means[2] = np.nan
    signals = weigh_turns(some, QUERY)
    assert signals["sentence"][2] == np.median(signals["sentence"][:2])
    some.sentence[:] = np.nan
    some.means[:] = np.nan
    assert not any(np.isnan(values).any() for values in weigh_turns(some, QUERY).values())


def test_no_turns_are_weighed_without_complaint() -> None:
    none = turns([])
    assert {name: values.size for name, values in weigh_turns(none, QUERY).items()} == dict.fromkeys(
        ("words", "sentence", "turn", "around", "passage"), 0
    )


def test_length_rises_to_a_few_sentences_and_falls_beyond() -> None:
    low, middle, high = weigh_length(np.array([0.0, 250.0, 5000.0]))
    assert low < middle == 0 > high


def test_time_fades_and_every_signal_has_a_weight() -> None:
    assert weigh_gap(0) == 1 > weigh_gap(7) > weigh_gap(30) > 0
    assert set(weigh_turns(turns([0]), QUERY)) <= set(WEIGHTS)
    assert RADIUS == 2
