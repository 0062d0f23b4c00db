"""Attempts: counted, each from another start, the best kept, one outcome an example."""

from __future__ import annotations

import attrs
import pytest
import torch

from dcm import ConvergenceCriterion, Example, Objective, Optimizer, Status, Target, find, solve
from dcm.solver import Stats
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective


@attrs.frozen
class Planned(Optimizer):
    """Attempt n starts at the n-th place and stays there."""

    places: tuple[float, ...]

    @property
    def attempts(self):
        return len(self.places)

    def start(self, keys, space, texts):
        return torch.stack(
            [torch.full((space.slots, space.width), self.places[key.attempt]) for key in keys]
        )

    def init(self, content, space):
        return ()

    def step(self, content, gradient, state):
        return content.clone(), state


EXAMPLE = Example(id="e", question="q", answer="5.0")


def solved(places, **options):
    generator = QuadraticGenerator(tolerance=0.5)
    (outcome,) = solve(
        generator,
        [EXAMPLE],
        **{
            "objective": QuadraticObjective(),
            "optimizer": Planned(places),
            "slots": 1,
            "max_steps": 3,
            **options,
        },
    )
    assert generator.calls["5.0"] == outcome.row_steps
    return outcome


def test_the_first_attempt_that_converges_is_the_last():
    outcome = solved((0.0, 5.25, 5.0))
    assert outcome.status == Status.CONVERGED
    assert (outcome.attempts, outcome.attempt) == (2, 2)
    # Three measurements of the first attempt, one of the second.
    assert (outcome.steps, outcome.row_steps) == (1, 4)
    assert outcome.losses == {"answer": 0.0625}
    assert outcome.margin == 0.25
    assert outcome.content.tolist() == [[5.25] * 4]


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_best_of_the_attempts_is_kept(best):
    places = [0.0, 0.0, 0.0]
    places[best] = 4.0
    outcome = solved(tuple(places))
    assert outcome.status == Status.MAX_STEPS
    assert (outcome.attempts, outcome.attempt) == (3, best + 1)
    assert (outcome.steps, outcome.row_steps) == (1, 9)
    assert outcome.losses == {"answer": 1.0}
    assert outcome.curve == tuple((step, {"answer": 1.0}) for step in (1, 2, 3))


def test_an_attempt_that_is_not_finite_gets_another():
    outcome = solved((float("nan"), 5.0))
    assert outcome.status == Status.CONVERGED
    assert (outcome.attempts, outcome.attempt, outcome.row_steps) == (2, 2, 2)


def test_where_no_attempt_is_finite_there_is_no_content():
    outcome = solved((float("nan"), float("inf")))
    assert outcome.status == Status.NONFINITE
    assert outcome.content is None
    assert outcome.losses == {}
    assert not outcome.exact
    assert outcome.margin == float("-inf")
    assert (outcome.attempts, outcome.steps, outcome.row_steps) == (2, 0, 2)


def test_attempts_start_at_different_places():
    """What is measured in the first step of each attempt differs, by the random start alone."""
    restarts = find("optimizer", "restarts")(find("optimizer", "adam")(), count=4)
    seen = []

    class Recorded(QuadraticObjective):
        def loss(self, nll, strands):
            seen.append(nll.tolist())
            return super().loss(nll, strands)

    (outcome,) = solve(
        QuadraticGenerator(),
        [EXAMPLE],
        objective=Recorded(),
        optimizer=restarts,
        slots=1,
        max_steps=1,
    )
    assert outcome.attempts == 4
    assert len({tuple(each) for each in seen}) == 4
    assert outcome.losses["answer"] == min(loss for (loss,) in seen)


def test_defaults_are_the_documented_ones():
    """Joint, restarts of Adam, exact."""
    (outcome,) = solve(QuadraticGenerator(), [EXAMPLE], slots=1, max_steps=2)
    assert set(outcome.losses) == {"question", "answer"}
    assert outcome.attempts == find("optimizer", "restarts")().attempts == 5


@attrs.frozen
class ThreeTargets(Objective):
    """Two targets under one mode and one under another, weighted."""

    def targets(self, example):
        return (Target("answer", "1", 2.0), Target("other", "3"), Target("answer", "7", 0.5))

    def loss(self, nll, strands):
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)

    def penalty(self, content):
        return content.square().mean((1, 2))


@attrs.frozen
class SeesLoss(ConvergenceCriterion):
    """Done at once; keeps what it saw."""

    seen: list = attrs.field(factory=list, eq=False)

    def init(self, rows, device=None):
        return torch.zeros(rows)

    def update(self, state, seen):
        self.seen.append((seen.loss.tolist(), seen.nll.tolist(), seen.step.tolist()))
        return state, torch.ones_like(seen.exact)


def test_weights_penalties_and_modes_add_up():
    criterion = SeesLoss()
    (outcome,) = solve(
        QuadraticGenerator(),
        [EXAMPLE],
        objective=ThreeTargets(),
        optimizer=Planned((3.0,)),
        criterion=criterion,
        slots=2,
    )
    # Distances 2, 0 and 4: losses 4, 0 and 16. The penalty is 3 * 3.
    assert criterion.seen == [([2 * 4 + 0 + 0.5 * 16 + 9.0], [4.0, 0.0, 16.0], [1])]
    assert outcome.losses == {"answer": 10.0, "other": 0.0}
    assert outcome.margin == pytest.approx(0.05 - 4)
    assert outcome.status == Status.CONVERGED
    assert not outcome.exact
    assert outcome.penalty == 9.0
    assert outcome.curve == ((1, {"answer": 10.0, "other": 0.0, "penalty": 9.0}),)


def test_a_row_goes_on_until_its_penalty_is_small_and_keeps_the_smallest():
    exact, below = find("criterion", "exact")(), find("criterion", "penalty-below")
    example = attrs.evolve(EXAMPLE, answer="3.0")

    def solved(criterion, max_steps=6):
        (outcome,) = solve(
            QuadraticGenerator(tolerance=2.5),
            [example],
            objective=Shrinking(),
            optimizer=Falling(),
            criterion=criterion,
            slots=1,
            max_steps=max_steps,
        )
        return outcome

    # The content falls from 6 by one each step; it is exact from 5 to 1, its penalty is its size.
    assert (solved(exact).steps, solved(exact).penalty) == (2, 5.0)
    both = solved(exact & below(2.0))
    assert (both.status, both.steps, both.penalty) == (Status.CONVERGED, 5, 2.0)
    never = solved(exact & below(0.0), max_steps=8)
    assert (never.status, never.exact, never.penalty) == (Status.MAX_STEPS, True, 1.0)
    assert solved(below(9.0)).steps == 1


@attrs.frozen
class Shrinking(Objective):
    """The answer, and a penalty on the size of the content."""

    def targets(self, example):
        return (Target("answer", example.answer),)

    def loss(self, nll, strands):
        return nll.new_zeros(strands.rows).index_add(0, strands.row, nll)

    def penalty(self, content):
        return content.abs().mean((1, 2))


@attrs.frozen
class Falling(Optimizer):
    """From 6 down by one each step, whatever the gradient."""

    def start(self, keys, space, texts):
        return torch.full((len(keys), space.slots, space.width), 6.0)

    def init(self, content, space):
        return ()

    def step(self, content, gradient, state):
        return content - 1, state


def test_stats_say_what_was_done():
    stats, seen = Stats(), []
    examples = [attrs.evolve(EXAMPLE, id=f"e{n}", answer=f"{n}.0") for n in range(6)]
    list(
        solve(
            QuadraticGenerator(tolerance=0.5),
            examples,
            objective=QuadraticObjective(),
            optimizer=Planned((2.0, 4.0)),
            slots=1,
            max_steps=2,
            lanes=2,
            stats=stats,
            on_step=lambda now: seen.append((now.row_steps, now.active)),
        )
    )
    # Places 2 and 4 converge after 1 and 3 measurements, the other four examples take 4.
    assert (stats.lanes, stats.active, stats.examples, stats.finished) == (2, 0, 6, 6)
    assert (stats.exact, stats.row_steps, stats.useful_row_steps) == (2, 20, 20)
    # Nine attempts of two steps and two of one: 2 converges at its first, 4 at its second start.
    assert (stats.ended, stats.ended_cubes, stats.running_cubes) == (11, 74.0, 0)
    assert [count for count, _ in seen] == sorted({count for count, _ in seen})
    assert seen[-1] == (20, 0)
