"""A worker asks for the examples that it has lanes for."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import NamedTuple

import attrs
import pytest
import torch

from dcm import ConvergenceCriterion, Example, Observation, Status, find, solve
from dcm.running.worker import _Supply
from dcm.solver import Stats
from dcm.testing.doubles import TinyGenerator


class Way:
    """Notes what is said; answers with what `tasks` holds."""

    def __init__(self):
        self.said, self.tasks = [], []

    def send(self, message):
        self.said.append(message)

    def poll(self):
        return {"kind": "tasks", "tasks": self.tasks.pop(0)} if self.tasks else None

    wait = poll


@pytest.fixture
def supply():
    way = Way()
    solving = SimpleNamespace(stats=Stats(lanes=16), example=lambda place, key: key)
    found = _Supply(way, solving, lambda: None)
    found.way, found.stats = way, solving.stats
    return found


def tasks(first, count):
    return [(number, f"e{number}") for number in range(first, first + count)]


def test_examples_that_wait_to_be_certified_leave_their_lanes_to_others(supply) -> None:
    """Certification waits for many steps; lanes must not be empty until then."""
    supply.way.tasks = [tasks(0, 24)]
    assert len(list(supply)) == 24
    assert [each["count"] for each in supply.way.said] == [24]
    # 20 rows have ended, and none is certified.
    supply.stats.uncertified = 20
    supply.way.tasks = [tasks(24, 20)]
    assert list(supply) == [f"e{number}" for number in range(24, 44)]
    assert supply.way.said[1] == {"kind": "take", "count": 20, "through": 20}
    assert supply.held == 44
    # They are certified, 5 of which go on for a larger margin.
    supply.stats.uncertified, supply.held = 0, 44 - 15
    assert supply.through == 15


def test_nothing_more_is_asked_for_than_there_is_room(supply) -> None:
    supply.way.tasks = [tasks(0, 24)]
    list(supply)
    assert list(supply) == []
    assert len(supply.way.said) == 1


def test_an_example_that_cannot_be_read_any_more_needs_no_lane(supply) -> None:
    supply._solving.example = lambda place, key: None if place < 4 else key
    supply.way.tasks = [tasks(0, 24)]
    assert len(list(supply)) == 20
    assert supply.through == 4


class Left(NamedTuple):
    at: torch.Tensor


@attrs.frozen
class After(ConvergenceCriterion):
    """A row ends after 4 to 11 steps, which its first loss decides."""

    def init(self, rows: int, device: torch.device | None = None) -> Left:
        return Left(torch.zeros(rows, dtype=torch.int64, device=device))

    def update(self, state: Left, seen: Observation) -> tuple[Left, torch.Tensor]:
        drawn = 4 + (seen.loss * 1e4).long() % 8
        at = torch.where(state.at == 0, drawn, state.at)
        return Left(at), seen.step >= at


class Giving(Way):
    """Gives as many of `count` examples as are asked for."""

    def __init__(self, count):
        super().__init__()
        self.left = tasks(0, count)

    def send(self, message):
        count = message["count"]
        self.tasks.append(self.left[:count])
        self.left = self.left[count:]

    def poll(self):
        told = super().poll()
        return told if told is None or told["tasks"] else {"kind": "end"}

    wait = poll


def test_lanes_stay_full_while_ended_rows_wait_for_certification(monkeypatch) -> None:
    endings = importlib.import_module("dcm.solver.endings")
    monkeypatch.setattr(endings, "_CPU_WAIT", 64)
    stats, active = Stats(), []
    solving = SimpleNamespace(
        stats=stats, example=lambda place, key: Example(key, "what " * (place % 4 + 1), f"{place}")
    )
    supply = _Supply(Giving(160), solving, lambda: None)
    outcomes = solve(
        TinyGenerator(),
        supply,
        criterion=After(),
        optimizer=find("optimizer", "adam")(),
        slots=4,
        lanes=16,
        stats=stats,
        verify=lambda found: [attrs.evolve(each, certified=True) for each in found],
        on_step=lambda _: active.append(stats.row_steps),
    )
    for outcome in outcomes:
        assert outcome.status is Status.CONVERGED
        supply.held -= 1
    assert stats.finished == 160
    # All but the last rows have company in all lanes.
    assert stats.row_steps / len(active) > 0.85 * 16
