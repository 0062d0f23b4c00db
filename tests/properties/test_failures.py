"""Promises 5 and 7: what goes wrong in one row stays there; short memory only takes longer."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcm import Baselines, Example, GeneratorError, Optimizer, Status, find, solve
from dcm.solver import Stats
from dcm.solver.batch import Batch
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective


def numbers(count: int) -> list[Example]:
    return [Example(id=f"e{n}", question="q", answer=f"{n * 0.75 - 3}") for n in range(count)]


def options(**more):
    adam = find("optimizer", "adam")(lr=0.2)
    return {
        "objective": QuadraticObjective(),
        "optimizer": find("optimizer", "restarts")(adam, count=2),
        "slots": 2,
        "max_steps": 14,
        "lanes": 4,
        **more,
    }


@settings(max_examples=15)
@given(st.data())
def test_a_row_that_is_not_finite_ends_alone(results, data):
    task = numbers(7)
    places = data.draw(st.sets(st.integers(0, 7), min_size=1, max_size=3))
    lanes = data.draw(st.integers(1, 9))
    poisoned = list(task)
    for place in sorted(places):
        poisoned.insert(place, Example(id=f"bad{place}", question="q", answer=f"nan{place}"))
    with_them = results(QuadraticGenerator(), poisoned, **options(lanes=lanes))
    without = results(QuadraticGenerator(), task, **options(lanes=lanes))
    bad = {key: with_them.pop(key) for key in list(with_them) if key.startswith("bad")}
    assert with_them == without
    assert len(bad) == len(places)
    for each in bad.values():
        # The first attempt is measured twice, every later one is not finite at once.
        assert each["status"] == Status.NONFINITE
        assert each["attempts"] == (2, 1)
        assert each["steps"][1] == 4
        assert each["content"] is not None


@attrs.frozen
class StartsBadly(Optimizer):
    """Another optimiser, whose start is not finite for some examples."""

    inner: Optimizer
    value: float

    def start(self, keys, space, texts):
        content = self.inner.start(keys, space, texts)
        for row, key in enumerate(keys):
            if key.example_id.startswith("bad"):
                content[row, 0, 0] = self.value
        return content

    def init(self, content, space):
        return self.inner.init(content, space)

    def step(self, content, gradient, state):
        return self.inner.step(content, gradient, state)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_language_model_keeps_rows_apart_too(tiny, results, value):
    good = [Example(id=f"e{n}", question="q" * n, answer="a") for n in (1, 5, 12)]
    bad = Example(id="bad", question="qqqqq", answer="a")
    shared = {
        "slots": 2,
        "max_steps": 5,
        "optimizer": StartsBadly(find("optimizer", "adam")(), value),
    }
    with_it = results(tiny, [good[0], bad, *good[1:]], **shared)
    found = with_it.pop("bad")
    assert with_it == results(tiny, good, **shared)
    if value != 1e30:
        assert found["status"] == Status.NONFINITE
        assert found["content"] is None
        assert found["steps"] == (0, 1)
        assert found["losses"] == "{}"


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 9))
def test_short_memory_changes_no_result(results, memory, lanes, count):
    task = numbers(count)
    stats = Stats()
    plenty = results(QuadraticGenerator(), task, **options(lanes=lanes))
    short = results(QuadraticGenerator(memory=memory), task, **options(lanes=lanes, stats=stats))
    assert short == plenty
    assert stats.lanes <= max(memory, lanes)
    assert stats.row_steps == sum(each["steps"][1] for each in plenty.values())


@pytest.mark.parametrize("room", [1, 2, 5])
def test_memory_that_ends_where_rows_take_lanes_loses_nothing(results, room, monkeypatch):
    """Neither those that begin nor those that go on."""
    join = Batch.join

    def short_of_memory(self, other):
        if len(self.step) + len(other.step) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return join(self, other)

    task = numbers(9)
    plenty = results(QuadraticGenerator(), task, **options(lanes=6))
    monkeypatch.setattr(Batch, "join", short_of_memory)
    assert results(QuadraticGenerator(memory=4), task, **options(lanes=6)) == plenty


def test_a_row_that_finds_no_room_in_a_lane_is_an_error_that_says_so(results, monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TakesMemory, "init", out_of_memory)
    optimizer = TakesMemory(find("optimizer", "adam")(), 4)
    with pytest.raises(GeneratorError, match=r"one row alone does not fit.*Use fewer slots"):
        results(QuadraticGenerator(), numbers(3), **options(optimizer=optimizer))


def test_short_memory_with_baselines_changes_no_result(results):
    task = numbers(9)
    measured = options(baselines=Baselines(draws=2))
    plenty = results(QuadraticGenerator(), task, **measured)
    assert results(QuadraticGenerator(memory=2), task, **measured) == plenty


@pytest.mark.parametrize("baselines", [None, Baselines(draws=1)])
def test_a_row_that_never_fits_is_an_error_that_says_so(results, baselines):
    with pytest.raises(GeneratorError, match=r"one row alone does not fit.*Use fewer slots"):
        results(QuadraticGenerator(memory=0), numbers(3), **options(baselines=baselines))


@attrs.frozen
class TakesMemory(Optimizer):
    """Another optimiser, whose step has no memory for more than a few rows."""

    inner: Optimizer
    memory: int

    def start(self, keys, space, texts):
        return self.inner.start(keys, space, texts)

    def init(self, content, space):
        return self.inner.init(content, space)

    def step(self, content, gradient, state):
        if len(content) > self.memory:
            raise torch.OutOfMemoryError("the optimiser has no room")
        return self.inner.step(content, gradient, state)


def test_memory_that_ends_between_measuring_and_moving_loses_nothing(results):
    """Rows end in the very step that runs out of memory."""
    adam = find("optimizer", "adam")(lr=0.3)
    generator = QuadraticGenerator(tolerance=0.6)
    task = numbers(20)
    shared = {"lanes": 20, "max_steps": 30}
    plenty = results(generator, task, **options(optimizer=adam, **shared))
    ends = [each["steps"][1] for each in plenty.values()]
    assert min(ends) == 1 < max(ends), "some rows have to end while others go on"
    short = results(generator, task, **options(optimizer=TakesMemory(adam, 4), **shared))
    assert short == plenty


def test_other_errors_are_not_taken_for_short_memory():
    class Broken(QuadraticGenerator):
        def score(self, content, strands):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(solve(Broken(), numbers(2), **options()))
