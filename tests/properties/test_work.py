"""Promises 4 and 6: work that nobody needs is not done; sources are read as lanes need them."""

from __future__ import annotations

import itertools
import weakref

import attrs
import pytest
import torch

from dcm import Baselines, Example, Modes, Outcome, Status, find, solve
from dcm.solver import Stats
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective


def toy(number: int) -> Example:
    return Example(id=f"e{number}", question="q", answer=f"{number % 90}.{number}")


def test_finished_rows_cost_nothing():
    """Of 200 examples that take very different numbers of steps, counted by the generator."""
    generator = QuadraticGenerator(tolerance=0.1)
    task = [
        Example(id=f"e{n}", question="q", answer=f"{n * 7919 % 400 / 10 - 20:.{n % 9 + 1}f}")
        for n in range(200)
    ]
    stats = Stats()
    outcomes = list(
        solve(
            generator,
            task,
            objective=QuadraticObjective(),
            optimizer=find("optimizer", "adam")(lr=0.5),
            slots=2,
            lanes=16,
            max_steps=60,
            stats=stats,
        )
    )
    steps = sorted(outcome.steps for outcome in outcomes)
    assert steps[0] * 4 < steps[-1], "the rows must differ for the test to mean anything"
    scored = sum(generator.calls.values())
    assert scored == stats.row_steps == sum(outcome.row_steps for outcome in outcomes)
    assert stats.useful_row_steps >= 0.95 * scored
    assert sum(outcome.steps for outcome in outcomes) >= 0.95 * scored


def test_lanes_stay_full_while_examples_wait():
    generator = QuadraticGenerator(tolerance=0.1)
    active = []
    for _ in solve(
        generator,
        (toy(n) for n in range(60)),
        objective=QuadraticObjective(),
        slots=1,
        lanes=7,
        max_steps=12,
        on_step=lambda stats: active.append((stats.examples, sum(generator.calls.values()))),
    ):
        pass
    rows = [after - before for (_, before), (_, after) in itertools.pairwise(active)]
    waiting = [taken < 60 for taken, _ in active[1:]]
    assert all(scored == 7 for scored, more in zip(rows, waiting, strict=True) if more)
    assert max(rows) == 7


def test_verification_that_fails_is_counted_as_work():
    """A row that goes on after a failed verification is measured once more where it stands."""
    generator = QuadraticGenerator(tolerance=0.5)
    stats = Stats()
    outcomes = list(
        solve(
            generator,
            [toy(n) for n in range(5)],
            objective=QuadraticObjective(),
            optimizer=find("optimizer", "adam")(lr=0.3),
            criterion=find("criterion", "exact")(margin=0.0),
            slots=1,
            max_steps=40,
            stats=stats,
            verify=lambda found: [fails(outcome) for outcome in found],
        )
    )
    assert stats.row_steps == sum(generator.calls.values())
    assert stats.row_steps == sum(outcome.row_steps for outcome in outcomes)
    assert stats.useful_row_steps < stats.row_steps


def fails(outcome: Outcome) -> Outcome:
    return attrs.evolve(outcome, certified=False)


@pytest.mark.parametrize("lanes", [1, 3, 16])
def test_a_source_is_read_as_lanes_need_it(lanes):
    """An endless source: each outcome comes while at most two lanes' worth are under way."""
    taken = 0
    alive = weakref.WeakSet()
    most_alive = 0

    class Watched:
        """Examples are compared by value, so something else has to tell them apart."""

    def source():
        nonlocal taken, most_alive
        for number in itertools.count():
            taken += 1
            watched = Watched()
            alive.add(watched)
            most_alive = max(most_alive, len(alive))
            yield Example(
                id=f"e{number}", question="q", answer=f"{number % 7}", metadata={"it": watched}
            )

    stats = Stats()
    outcomes = solve(
        QuadraticGenerator(tolerance=100.0),
        source(),
        objective=QuadraticObjective(),
        slots=1,
        lanes=lanes,
        stats=stats,
    )
    for finished, _ in enumerate(itertools.islice(outcomes, 1500), start=1):
        assert taken - finished <= 2 * lanes
    assert most_alive <= 3 * lanes + 2
    assert stats.finished == 1500


def test_examples_that_do_not_fit_are_passed_by_one_at_a_time():
    """Even where none fits, an endless source gives its outcomes."""
    source = (
        Example(id=f"e{n}", question="q", answer="too long " * 200) for n in itertools.count()
    )
    outcomes = solve(QuadraticGenerator(), source, objective=QuadraticObjective(), slots=1, lanes=4)
    some = list(itertools.islice(outcomes, 50))
    assert {outcome.status for outcome in some} == {Status.FAILED}
    assert [outcome.example.id for outcome in some] == [f"e{n}" for n in range(50)]


def test_the_model_stays_as_it_is(tiny, logit_lines):
    """Bit for bit, with no gradient, and with logits at target positions alone."""
    model = tiny.lm.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = []
    task = [Example(id="e", question="what is it? " * 4, answer="that " * 2)]
    list(solve(tiny, task, max_steps=1))  # what is tried once of a model
    with logit_lines(tiny.vocabulary) as logits:
        list(
            solve(
                tiny,
                task,
                optimizer=find("optimizer", "adam")(),
                slots=24,
                max_steps=3,
                modes=Modes(tiny),
                on_step=lambda stats: gradients.append(
                    any(p.grad is not None or p.requires_grad for p in model.parameters())
                ),
            )
        )
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert gradients == [False] * len(gradients)
    # Prompts have 25 positions, targets 49 and 11 tokens.
    assert [len(tiny.encode(text)) for text in (task[0].question, task[0].answer)] == [49, 11]
    assert logits.lines == [60] * 3


def test_baselines_leave_the_model_as_it_is(tiny):
    before = {name: value.clone() for name, value in tiny.lm.model.state_dict().items()}
    task = [Example(id="e", question="what?", answer="that")]
    (outcome,) = solve(tiny, task, slots=2, max_steps=1, baselines=Baselines(draws=2))
    assert set(outcome.baselines) == {"random", "single_token", "full_context"}
    after = tiny.lm.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in tiny.lm.model.parameters())
