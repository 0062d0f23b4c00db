"""Promise 8: tasks of every shape work."""

from __future__ import annotations

import pytest

from dcm import Example, Status, UsageError, find, solve
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective

SHORT = Example(id="short", question="?", answer="!")
LONG = Example(id="long", question="x" * 200, answer="y")
TASKS = {
    "one": [SHORT],
    "fewer than lanes": [Example(id=f"e{n}", question="q", answer="a") for n in range(3)],
    "more than lanes": [Example(id=f"e{n}", question="q", answer="a") for n in range(23)],
    "one far longer": [SHORT, LONG, Example(id="other", question="??", answer="!!")],
    "as long as fits": [Example(id="full", question="x" * (256 - 2 - 1), answer="y"), SHORT],
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_every_shape_gives_one_outcome_an_example(tiny, results, task):
    found = results(
        tiny, task, slots=1, max_steps=2, lanes=8, optimizer=find("optimizer", "adam")()
    )
    for each in found.values():
        assert each["status"] == Status.MAX_STEPS
        assert each["steps"][1] == 2
        assert len(each["content"]) == 1 * 64 * 4


def test_a_target_of_one_token(tiny):
    """An example whose text is one token and the closing one, and an objective of one target."""
    (outcome,) = solve(
        tiny,
        [SHORT],
        objective=find("objective", "single")(mode="answer"),
        optimizer=find("optimizer", "adam")(lr=0.1),
        slots=1,
        max_steps=300,
    )
    assert len(tiny.encode("!")) == 2
    assert set(outcome.losses) == {"answer"}
    assert outcome.status == Status.CONVERGED


def test_nothing_gives_nothing(tiny):
    assert list(solve(tiny, [], slots=2)) == []
    assert list(solve(tiny, iter(()), slots=2)) == []


def test_targets_that_are_all_too_long(tiny, results):
    task = [Example(id=f"e{n}", question="x" * (300 + n), answer="a") for n in range(9)]
    found = results(tiny, task, slots=2, lanes=2)
    for n in range(9):
        each = found[f"e{n}"]
        assert each["status"] == Status.FAILED
        assert each["content"] is None
        assert each["attempts"] == (0, 0)
        assert each["reason"] == (
            "too long for the model: "
            f"the question has {301 + n} tokens and needs {304 + n} positions with its 2 slots "
            "and the mode, the model has 256 for them"
        )


def test_what_does_not_fit_stands_among_what_does(tiny, results):
    task = [SHORT, Example(id="huge", question="x" * 500, answer="a"), LONG]
    found = results(tiny, task, slots=2, lanes=1, max_steps=1)
    assert {key: each["status"] for key, each in found.items()} == {
        "short": Status.MAX_STEPS,
        "huge": Status.FAILED,
        "long": Status.MAX_STEPS,
    }


@pytest.mark.parametrize("name", ["slots", "max_steps", "lanes"])
def test_numbers_below_one_are_refused_at_once(name):
    """Before anything is taken from the source, and not at the first outcome."""
    with pytest.raises(UsageError, match=f"{name} = 0 was asked for.*at least 1"):
        solve(QuadraticGenerator(), iter([SHORT]), objective=QuadraticObjective(), **{name: 0})


def test_a_criterion_without_its_baselines_is_refused_at_once():
    with pytest.raises(UsageError, match=r"SeedRule.*baseline.*Baselines\(\)"):
        solve(
            QuadraticGenerator(),
            [SHORT],
            objective=QuadraticObjective(),
            criterion=find("criterion", "seed-rule")(),
        )


def test_an_objective_without_a_target_fails_the_example(tiny):
    class Nothing(QuadraticObjective):
        def targets(self, example):
            return ()

    (outcome,) = solve(tiny, [SHORT], objective=Nothing())
    assert outcome.status is Status.FAILED
    assert "'short' has no target" in outcome.reason
    assert "Nothing" in outcome.reason
