"""Examples are given to workers, and given on when one is lost."""

from __future__ import annotations

import random

import pytest

from dcm.running.dispatch import Dispatch


def tasks(count):
    return [(number, f"e{number}") for number in range(count)]


def test_each_worker_gets_what_it_has_room_for_up_to_its_share() -> None:
    dispatch = Dispatch(tasks(10))
    assert dispatch.give("small", 2, share=1 / 2) == tasks(2)
    assert len(dispatch.give("large", 100, share=1 / 2)) == 5
    assert dispatch.give("large", 100, share=1 / 2) == []
    assert len(dispatch.give("small", 100, share=1 / 2)) == 3
    assert dispatch.give("late", 100, share=1 / 3) == []
    dispatch.finish("small", "e0")
    assert dispatch.unfinished == 9


def test_a_faster_worker_has_more_at_the_end() -> None:
    dispatch = Dispatch(tasks(12))
    assert len(dispatch.give("fast", 100, share=3 / 4)) == 9
    assert len(dispatch.give("slow", 100, share=1 / 4)) == 3


def test_a_worker_without_any_gets_one_however_many_there_are() -> None:
    dispatch = Dispatch(tasks(3))
    assert [len(dispatch.give(str(n), 8, share=1 / 100)) for n in range(4)] == [1, 1, 1, 0]


def test_what_a_lost_worker_had_comes_first() -> None:
    dispatch = Dispatch(tasks(8))
    lost = dispatch.give("a", 2, share=1)
    dispatch.finish("a", lost[0][1])
    assert dispatch.lose("a") == []
    # One that was alone is tried alone again, when nothing else waits.
    others = dispatch.give("b", 6, share=1)
    assert lost[1] not in others
    for _, key in others:
        assert dispatch.finish("b", key)
    assert dispatch.give("b", 6, share=1) == [lost[1]]


def test_what_another_has_finished_meanwhile_is_not_finished_twice() -> None:
    dispatch = Dispatch(tasks(2))
    dispatch.give("a", 2, share=1)
    dispatch.lose("a")
    dispatch.give("b", 2, share=1)
    assert not dispatch.finish("a", "e0")
    assert dispatch.finish("b", "e0")
    assert not dispatch.finish("b", "e0")
    assert dispatch.unfinished == 1


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_the_one_that_ends_its_worker_is_found_and_given_up_alone(count) -> None:
    bad = f"e{count // 3}"
    dispatch, finished, given_up, losses = Dispatch(tasks(count)), set(), [], 0
    while dispatch.unfinished:
        given = [key for _, key in dispatch.give("w", 128, share=1)]
        if bad in given:
            losses += 1
            given_up += dispatch.lose("w")
        else:
            assert given
            finished |= {key for key in given if dispatch.finish("w", key)}
    assert [key for _, key in given_up] == [bad]
    assert finished == {key for _, key in tasks(count)} - {bad}
    assert losses <= 12


def test_workers_that_are_lost_by_chance_lose_nothing() -> None:
    moments = random.Random(0)  # noqa: S311
    dispatch, held, finished = Dispatch(tasks(300)), {n: [] for n in range(4)}, []
    while dispatch.unfinished:
        worker = moments.randrange(4)
        held[worker] += [key for _, key in dispatch.give(str(worker), 16, share=1 / 4)]
        if moments.random() < 0.05:
            assert dispatch.lose(str(worker)) == []
            held[worker] = []
        elif held[worker]:
            key = held[worker].pop(0)
            assert dispatch.finish(str(worker), key)
            finished.append(key)
    assert sorted(finished) == sorted(key for _, key in tasks(300))
