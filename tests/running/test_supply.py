"""A worker asks for the examples that it has lanes for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dcm.running.worker import _Supply
from dcm.solver import Stats


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
