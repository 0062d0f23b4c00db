"""The time that is left, judged by steps."""

from __future__ import annotations

import random

import pytest

from dcm.running.forecast import seconds_left
from dcm.solver import Stats


def simulated(lengths: list[int], lanes: int) -> list[tuple[Stats, float]]:
    """Stats after each step of rows of these lengths, a row-step taking a second."""
    waiting, running, stats = list(lengths), [], Stats(lanes=lanes)
    told = []
    while waiting or running:
        while waiting and len(running) < lanes:
            running.append([waiting.pop(0), 0])
        for row in running:
            row[1] += 1
        stats.row_steps += len(running)
        for row in [row for row in running if row[0] == row[1]]:
            running.remove(row)
            stats.finished += 1
            stats.ended += 1
            stats.ended_cubes += row[1] ** 3
        steps = sorted(step for _, step in running)
        stats.active = len(running)
        stats.step = steps[len(steps) // 2] if steps else 0
        stats.running_cubes = sum(step**3 for step in steps)
        copy = Stats(**{name: getattr(stats, name) for name in Stats.__slots__ if name[0] != "_"})
        told.append((copy, float(stats.row_steps)))
    return told


@pytest.mark.parametrize("lanes", [8, 64, 200])
@pytest.mark.parametrize(("typical", "spread"), [(10, 3), (60, 20)])
def test_it_is_near_once_a_tenth_has_finished(typical: int, spread: int, lanes: int) -> None:
    draw = random.Random(0)  # noqa: S311 - not for cryptography
    lengths = [max(2, round(draw.gauss(typical, spread))) for _ in range(200)]
    told = simulated(lengths, lanes)
    end = told[-1][1]
    for stats, seconds in told:
        estimate = seconds_left(stats, 200, seconds)
        left = end - seconds
        if stats.finished >= 20 and left > 0.1 * end:
            assert estimate is not None
            assert left / 2 < estimate < 2 * left
    assert seconds_left(*(told[-1][0], 200, end)) == 0


def test_one_row_that_has_ended_says_nothing() -> None:
    assert seconds_left(Stats(), 160, 3.0) is None
    assert seconds_left(Stats(ended=1, ended_cubes=125.0, row_steps=400), 160, 3.0) is None


def test_the_first_to_end_do_not_make_hours_of_a_minute() -> None:
    # 96 rows at step 5, of which the first 3 have ended, and 64 that wait.
    stats = Stats(lanes=96, active=93, finished=3, ended=3, row_steps=480, step=5)
    stats.ended_cubes, stats.running_cubes = 3 * 125.0, 93 * 125.0
    estimate = seconds_left(stats, 160, 8.0)
    assert estimate is not None
    assert estimate < 60
