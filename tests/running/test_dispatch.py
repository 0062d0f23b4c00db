"""Examples are given to workers, and given on when one is lost."""

from __future__ import annotations

import random

import pytest

from dcm.running.dispatch import Dispatch


def tasks(count):
    return [(number, f"e{number}") for number in range(count)]


def test_each_worker_gets_what_it_has_room_for_up_to_its_share() -> None:
    dispatch = Dispatch(tasks(10))
    assert dispatch.give("small", 2, share=1 / 2, workers=2) == tasks(2)
    assert len(dispatch.give("large", 100, share=1 / 2, workers=2)) == 5
    assert dispatch.give("large", 100, share=1 / 2, workers=2) == []
    assert len(dispatch.give("small", 100, share=1 / 2, workers=2)) == 3
    assert dispatch.give("late", 100, share=1 / 3, workers=3) == []
    dispatch.finish("small", "e0")
    assert dispatch.unfinished == 9


def test_a_faster_worker_has_more_at_the_end() -> None:
    dispatch = Dispatch(tasks(12))
    assert len(dispatch.give("fast", 100, share=3 / 4, workers=2)) == 9
    assert len(dispatch.give("slow", 100, share=1 / 4, workers=2)) == 3


def test_half_of_many_is_held_back_and_given_to_whoever_is_ahead() -> None:
    dispatch = Dispatch(tasks(4000))
    for worker in "ab":
        assert len(dispatch.give(worker, 5000, share=1 / 2, workers=2)) == 1000
        assert dispatch.give(worker, 5000, share=1 / 2, workers=2) == []
    # Of "a" 400 have ended, though none is certified yet: it has half of half of 3,600 again.
    dispatch.through("a", 400)
    assert len(dispatch.give("a", 5000, share=1 / 2, workers=2)) == 300
    assert dispatch.give("b", 5000, share=1 / 2, workers=2) == []
    assert dispatch.unfinished == 4000


def test_one_worker_gets_all_that_it_has_room_for() -> None:
    assert len(Dispatch(tasks(4000)).give("a", 5000, share=1, workers=1)) == 4000


@pytest.mark.parametrize(
    ("speeds", "believed"),
    [
        ((1, 1), (1, 1)),
        ((1, 0.8), (1, 1)),
        ((1, 1, 1, 1), (1, 1, 1, 1)),
        ((3, 1), (3, 1)),
        ((1, 0.25, 0.25), (1, 0.25, 0.25)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_workers_end_together(speeds, believed, seed) -> None:
    """4,000 rows of 5 to 40 steps. A worker does as many steps at a time with few rows as with
    many, and has room for 1,152."""
    lengths = random.Random(seed)  # noqa: S311
    steps = [lengths.randint(5, 40) for _ in range(4000)]
    dispatch, now = Dispatch(tasks(4000)), 0.0
    running = {name: {} for name, _ in enumerate(speeds)}
    time = dict.fromkeys(running, 0.0)
    through = dict.fromkeys(running, 0)
    last = dict.fromkeys(running, 0.0)
    while dispatch.unfinished:
        name = min(time, key=time.get)
        now, rows, speed = time[name], running[name], speeds[name]
        room = 1152 - len(rows)
        share = believed[name] / sum(believed)
        given = dispatch.give(str(name), room, share, len(speeds)) if room else []
        rows |= {key: steps[place] for place, key in given}
        time[name] = now + max(1, len(rows)) / speed
        for key in list(rows):
            rows[key] -= 1
            if not rows[key]:
                del rows[key]
                through[name] += 1
                assert dispatch.finish(str(name), key)
                last[name] = time[name]
        dispatch.through(str(name), through[name])
    # Nobody idles for more than a fiftieth of the whole.
    assert min(last.values()) > 0.98 * max(last.values())


def test_a_worker_without_any_gets_one_however_many_there_are() -> None:
    dispatch = Dispatch(tasks(3))
    given = [dispatch.give(str(n), 8, share=1 / 100, workers=100) for n in range(4)]
    assert [len(each) for each in given] == [1, 1, 1, 0]


def test_what_a_lost_worker_had_comes_first() -> None:
    dispatch = Dispatch(tasks(8))
    lost = dispatch.give("a", 2, share=1, workers=1)
    dispatch.finish("a", lost[0][1])
    assert dispatch.lose("a") == []
    # One that was alone is tried alone again, when nothing else waits.
    others = dispatch.give("b", 6, share=1, workers=1)
    assert lost[1] not in others
    for _, key in others:
        assert dispatch.finish("b", key)
    assert dispatch.give("b", 6, share=1, workers=1) == [lost[1]]


def test_what_another_has_finished_meanwhile_is_not_finished_twice() -> None:
    dispatch = Dispatch(tasks(2))
    dispatch.give("a", 2, share=1, workers=1)
    dispatch.lose("a")
    dispatch.give("b", 2, share=1, workers=1)
    assert not dispatch.finish("a", "e0")
    assert dispatch.finish("b", "e0")
    assert not dispatch.finish("b", "e0")
    assert dispatch.unfinished == 1


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_the_one_that_ends_its_worker_is_found_and_given_up_alone(count) -> None:
    bad = f"e{count // 3}"
    dispatch, finished, given_up, losses = Dispatch(tasks(count)), set(), [], 0
    while dispatch.unfinished:
        given = [key for _, key in dispatch.give("w", 128, share=1, workers=1)]
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
        held[worker] += [key for _, key in dispatch.give(str(worker), 16, share=1 / 4, workers=4)]
        if moments.random() < 0.05:
            assert dispatch.lose(str(worker)) == []
            held[worker] = []
        elif held[worker]:
            key = held[worker].pop(0)
            assert dispatch.finish(str(worker), key)
            finished.append(key)
    assert sorted(finished) == sorted(key for _, key in tasks(300))
