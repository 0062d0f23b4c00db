"""The number of lanes follows the memory, and no result follows the number of lanes."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
import torch

from dcm import Example, find, solve
from dcm.solver import Stats, room
from dcm.solver.room import Room
from dcm.testing.doubles import TinyGenerator

GIB = 1 << 30


def solved(stats: Stats | None = None, lanes: int | None = None) -> dict[str, torch.Tensor]:
    task = [Example(id=f"e{n}", question="what " * (n % 4 + 1), answer=f"{n}") for n in range(40)]
    adam = find("optimizer", "adam")()
    outcomes = solve(
        TinyGenerator(), task, slots=4, max_steps=4, optimizer=adam, stats=stats, lanes=lanes
    )
    return {outcome.example.id: outcome.content for outcome in outcomes}


def test_a_cpu_takes_as_many_rows_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    plenty, little = Stats(), Stats()
    many = solved(plenty)
    assert plenty.lanes == 96
    monkeypatch.setattr(room, "free_memory", lambda: 6 << 20)
    few = solved(little)
    assert 4 <= little.lanes < 96
    assert many.keys() == few.keys()
    assert all(torch.equal(many[key], few[key]) for key in many)


def test_a_step_that_fails_leaves_nothing_in_memory() -> None:
    """Memory that ran out must be there for the next try."""
    alive: list[weakref.ref[torch.Tensor]] = []

    def step() -> None:
        with Room(torch.device("cpu"), None).watch(4, 40):
            alive.append(weakref.ref(torch.randn(4, 8, requires_grad=True).exp()))
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        step()
    gc.collect()
    assert alive[0]() is None


def test_a_number_that_was_asked_for_stays() -> None:
    stats = Stats()
    solved(stats, lanes=7)
    assert stats.lanes == 7


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A graphics card in numbers: `model` bytes held, `row` bytes a row, `free`, `limit` in %."""
    numbers = {"model": 14 * GIB, "row": GIB // 4, "free": 66 * GIB, "limit": 100, "rows": 0}
    peak = lambda _: numbers["model"] + numbers["rows"] * numbers["row"]  # noqa: E731
    fakes = {
        "current_device": lambda: 0,
        "empty_cache": lambda: None,
        "memory_allocated": lambda _: numbers["model"],
        "memory_reserved": lambda _: numbers["model"],
        "mem_get_info": lambda _: (numbers["free"], 80 * GIB),
        "get_per_process_memory_fraction": lambda _: numbers["limit"] / 100,
        "reset_peak_memory_stats": lambda _: None,
        "max_memory_allocated": peak,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return numbers


def grown(card: dict[str, int], steps: int = 12) -> list[int]:
    """The numbers of lanes of rows of ten positions each."""
    lanes = Room(torch.device("cuda"), None)
    found = [lanes.lanes]
    for _ in range(steps):
        card["rows"] = lanes.lanes
        with lanes.watch(lanes.lanes, 10 * lanes.lanes):
            pass
        found.append(lanes.lanes)
    return found


def test_a_gpu_begins_with_a_few_rows_and_leaps_to_what_surely_fits(
    card: dict[str, int],
) -> None:
    found = grown(card)
    assert found[0] == 16
    assert found == sorted(found)
    assert all(after <= 8 * before for before, after in itertools.pairwise(found))
    assert 0.7 * 66 * 4 <= found[2] <= 66 * 4  # four rows a GiB, after two steps


def test_longer_rows_are_fewer(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), None)
    card["rows"] = 16
    for _ in range(3):
        with lanes.watch(lanes.lanes, 10 * lanes.lanes):
            pass
        card["rows"] = lanes.lanes
    # What fits is positions, whichever rows they belong to.
    assert 0.7 * 66 * 4 * 10 <= lanes.positions <= 66 * 4 * 10


def test_a_gpu_keeps_to_the_share_of_its_memory_that_the_process_was_given(
    card: dict[str, int],
) -> None:
    card["limit"] = 40  # 32 GiB, 14 of which the model has
    assert 0.7 * 18 * 4 <= grown(card)[-1] <= 18 * 4


def test_small_rows_are_not_taken_without_end(card: dict[str, int]) -> None:
    card["row"] = 1 << 20
    assert grown(card)[-1] == 1024


def test_where_memory_ran_out_the_lanes_stay_few(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), None)
    lanes.shrink(8, 80)
    card["rows"] = 8
    with lanes.watch(8, 80):
        pass
    assert (lanes.lanes, lanes.positions) == (8, 80)


def test_a_step_with_fewer_rows_than_lanes_teaches_nothing(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), None)
    card["rows"] = 3
    with lanes.watch(3, 30):
        pass
    assert lanes.lanes == 16
