"""Recorded steps are what they are without, whatever shapes come and whoever asks."""

from __future__ import annotations

import gc

import pytest
import torch
from dcm.causal_lm.graphs import Graphs

CPU = torch.device("cpu")
WEIGHT = torch.linspace(-1, 1, 12).view(4, 3)


def function(first, other=None):
    """[n, positions, 4] to [n, positions, 3], line by line."""
    found = (first @ WEIGHT).tanh()
    return found if other is None else found + other[:, None, None]


def drawn(lines: int, seed: int = 0, positions: int = 5):
    generator = torch.Generator().manual_seed(100 * seed + lines)
    first = torch.randn(lines, positions, 4, generator=generator, requires_grad=True)
    return first, torch.arange(lines * 1.0)


def result(run, first, other):
    """What `run` makes of tensors, and its gradient."""
    found = run(first, other)[: len(first)]
    (gradient,) = torch.autograd.grad(found.square().sum(), first)
    return found.detach().clone(), gradient


def same(one, other):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.fixture
def graphs(recordings):
    recordings.made, recordings.fails, recordings.taken = 0, False, 1
    return Graphs(CPU, active=True)


def ran(graphs, *given):
    return graphs.run(function, "a function", *given)


def test_results_and_gradients_are_those_without(graphs, recordings):
    run = lambda *given: ran(graphs, *given)  # noqa: E731
    for seed, lines in enumerate([3, 8, 3, 4, 2, 3, 4, 7, 5, 3, 8, 1, 6]):
        given = drawn(lines, seed)
        assert same(result(run, *given), result(function, *given))
    assert recordings.made == 2  # of four lines, and of eight


def test_a_shape_that_comes_up_now_and_then_is_not_recorded(graphs, recordings):
    for lines in (1, 2, 4, 8, 16, 1, 2, 4, 8, 16):
        result(lambda *given: ran(graphs, *given), *drawn(lines))
    assert recordings.made == 0


def test_other_tensors_kinds_and_lengths_are_recordings_of_their_own(graphs):
    first, other = drawn(4)
    for _ in range(5):
        for kind, given in (("plain", (first, None)), ("plain", (first, other))):
            found = graphs.run(function, kind, *given)
            assert torch.allclose(found, function(*given))
        twice = graphs.run(lambda *given: 2 * function(*given), "twice", first, other)
        assert torch.allclose(twice, 2 * function(first, other))
        longer = drawn(4, positions=6)
        assert torch.allclose(ran(graphs, *longer), function(*longer))


def test_passes_that_wait_for_their_gradient_do_not_disturb_each_other(graphs, recordings):
    def three(run):
        several = [drawn(4, seed) for seed in range(3)]
        total = sum(run(*given).square().sum() for given in several)
        return torch.autograd.grad(total, [first for first, _ in several])

    for _ in range(5):
        assert same(three(lambda *given: ran(graphs, *given)), three(function))
    assert recordings.made == 1


def test_a_pass_that_is_given_up_makes_room_for_the_next(graphs, recordings, monkeypatch):
    replayed = []
    real = recordings.forward
    monkeypatch.setattr(
        recordings, "forward", lambda self, *given: replayed.append(1) or real(self, *given)
    )
    for _ in range(8):
        ran(graphs, *drawn(4))  # nobody asks for a gradient
        gc.collect()
    assert len(replayed) == 5  # all but the first three


def test_a_gradient_can_be_asked_for_once(graphs):
    for _ in range(4):
        given = drawn(4)
        found = ran(graphs, *given).sum()
        torch.autograd.grad(found, given[0], retain_graph=True)
    with pytest.raises(RuntimeError, match="asked for twice"):
        torch.autograd.grad(found, given[0])


def test_what_cannot_be_recorded_goes_on_as_it_was(graphs, recordings):
    recordings.fails = True
    for seed in range(6):
        given = drawn(3, seed)
        assert same(result(lambda *given: ran(graphs, *given), *given), result(function, *given))
    recordings.fails = False
    for _ in range(6):
        ran(graphs, *drawn(8))
    assert recordings.made == 0


def test_recordings_take_a_tenth_of_the_memory_and_the_latest_used_stay(graphs, recordings):
    recordings.taken = 40  # of 1,000
    for lines in (1, 2, 1, 4):
        for seed in range(4):
            given = drawn(lines, seed)
            assert same(result(lambda *g: ran(graphs, *g), *given), result(function, *given))
    assert recordings.made == 3
    result(lambda *given: ran(graphs, *given), *drawn(1))
    assert recordings.made == 3  # is still there
    for _ in range(4):
        result(lambda *given: ran(graphs, *given), *drawn(2))
    assert recordings.made == 4  # was dropped, and came again


def test_a_recording_that_is_too_large_is_made_once_and_costs_no_other(graphs, recordings):
    for taken, lines in ((40, 1), (200, 4), (40, 1)):
        recordings.taken = taken
        for seed in range(10):
            given = drawn(lines, seed)
            assert same(result(lambda *g: ran(graphs, *g), *given), result(function, *given))
    assert recordings.made == 2


def test_nothing_is_recorded_without_a_gradient_for_many_lines_or_where_it_is_off(recordings):
    recordings.made = 0
    for _ in range(6):
        with torch.no_grad():
            ran(Graphs(CPU, active=True), *drawn(4))
        graphs = Graphs(CPU, active=True)
        assert len(ran(graphs, *drawn(2049))) == 2049
        assert len(ran(Graphs(CPU, active=False), *drawn(3))) == 3
    assert recordings.made == 0
