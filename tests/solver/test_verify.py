"""Verification: what fails it goes on with a higher margin, then starts anew, then is given up."""

from __future__ import annotations

import itertools
import time

import attrs
import pytest

from dcm import Example, Status, find, solve
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective


class Verifier:
    """Certifies contents whose margin reaches a bound, and keeps what it was asked."""

    def __init__(self, bound):
        self.bound = bound
        self.asked = []

    def __call__(self, outcomes):
        self.asked.append([(each.example.id, each.margin, each.status) for each in outcomes])
        return [
            attrs.evolve(each, certified=each.margin >= self.bound, decoded={"answer": "text"})
            for each in outcomes
        ]

    def margins(self, key="e0"):
        return [margin for call in self.asked for id, margin, _ in call if id == key]


def solved(verify, count=1, **options):
    task = [Example(id=f"e{n}", question="q", answer=f"{5 + n}.0") for n in range(count)]
    outcomes = list(
        solve(
            QuadraticGenerator(tolerance=2.0),  # the margin is 2 - distance
            task,
            verify=verify,
            **{
                "objective": QuadraticObjective(),
                "optimizer": find("optimizer", "adam")(lr=0.1, betas=(0.6, 0.9), hypergradient=0.0),
                "criterion": find("criterion", "exact")(margin=0.0),
                "slots": 2,
                "max_steps": 200,
                **options,
            },
        )
    )
    assert sorted(each.example.id for each in outcomes) == sorted(each.id for each in task)
    return outcomes


def test_what_passes_is_given_out_as_verified():
    verify = Verifier(0.0)
    (outcome,) = solved(verify)
    assert outcome.certified is True
    assert outcome.decoded == {"answer": "text"}
    assert outcome.status == Status.CONVERGED
    assert len(verify.margins()) == 1


def test_what_fails_goes_on_with_twice_the_margin():
    verify = Verifier(0.9)
    (outcome,) = solved(verify)
    assert outcome.certified is True
    assert outcome.status == Status.CONVERGED
    assert outcome.attempts == 1
    margins = verify.margins()
    assert len(margins) > 2
    for before, after in itertools.pairwise(margins):
        assert after >= 2 * before
    assert outcome.margin == margins[-1] >= 0.9
    # It went on where it stood: as many steps as a row needs that asks for as much at once.
    needed = 2 * margins[-2]
    (direct,) = solved(Verifier(0.9), criterion=find("criterion", "exact")(margin=needed))
    again = len(margins) - 1
    assert outcome.steps == direct.steps + again
    assert outcome.margin == pytest.approx(direct.margin, abs=1e-5)


def test_what_never_passes_is_uncertified_when_the_budget_is_spent():
    (outcome,) = solved(Verifier(3.0), max_steps=80)
    assert outcome.certified is False
    assert outcome.exact
    assert outcome.row_steps == 80
    assert outcome.decoded == {"answer": "text"}
    assert outcome.content is not None


def test_what_never_passes_gets_its_other_attempts_too():
    adam = find("optimizer", "adam")(lr=0.1, betas=(0.6, 0.9), hypergradient=0.0)
    (outcome,) = solved(
        Verifier(3.0), optimizer=find("optimizer", "restarts")(adam, count=3), max_steps=80
    )
    assert outcome.certified is False
    assert outcome.attempts == 3
    assert outcome.row_steps == 240


def test_an_exact_row_at_the_end_of_its_budget_is_certified_and_not_restarted():
    """The criterion asks for more than certification does."""
    verify = Verifier(0.3)
    adam = find("optimizer", "adam")(lr=0.1, betas=(0.6, 0.9), hypergradient=0.0)
    (outcome,) = solved(
        verify,
        criterion=find("criterion", "exact")(margin=1.999999),
        optimizer=find("optimizer", "restarts")(adam, count=3),
        max_steps=70,
    )
    assert outcome.status == Status.MAX_STEPS
    assert outcome.certified is True
    assert (outcome.attempts, outcome.row_steps) == (1, 70)


def test_contents_that_are_not_exact_are_verified_once_and_never_sent_back():
    verify = Verifier(9.0)
    (outcome,) = solved(verify, max_steps=2)
    assert not outcome.exact
    assert outcome.certified is False
    assert len(verify.margins()) == 1
    assert outcome.row_steps == 2


def test_nothing_is_verified_where_there_is_no_content():
    verify = Verifier(0.0)
    task = [
        Example(id="long", question="q", answer="x" * 2000),
        Example(id="nan", question="q", answer="nan"),
    ]
    outcomes = list(
        solve(
            QuadraticGenerator(),
            task,
            objective=QuadraticObjective(),
            optimizer=find("optimizer", "adam")(start_scale=float("inf")),
            slots=1,
            max_steps=4,
            verify=verify,
        )
    )
    assert {each.example.id: each.status for each in outcomes} == {
        "long": Status.FAILED,
        "nan": Status.NONFINITE,
    }
    assert [each.certified for each in outcomes] == [None, None]
    assert verify.asked == []


@pytest.mark.parametrize("lanes", [1, 2, 7])
def test_verification_in_batches_changes_no_result(lanes):
    """Which rows are verified together depends on the lanes; the results do not."""

    def key(outcome):
        return (
            outcome.status,
            outcome.steps,
            outcome.row_steps,
            outcome.certified,
            outcome.content.tolist(),
        )

    options = {"count": 9, "max_steps": 70}
    wide = {each.example.id: key(each) for each in solved(Verifier(1.2), lanes=9, **options)}
    assert len({each[3] for each in wide.values()}) == 2, "some must pass and some must fail"
    found = {each.example.id: key(each) for each in solved(Verifier(1.2), lanes=lanes, **options)}
    assert found == wide


def test_several_are_verified_at_once():
    verify = Verifier(0.0)
    solved(verify, count=20, lanes=20)
    assert max(len(call) for call in verify.asked) >= 4
    assert len(verify.asked) < 20


def staggered(count=12, endless=1):
    """Examples that end one after the other, and some that never do, told apart by distance."""
    places = [*(2 + 0.5 * n for n in range(count)), *[1e6] * endless]
    return [Example(id=f"e{n}", question="q", answer=f"{place}") for n, place in enumerate(places)]


def steps_of_outcomes(examples, verify=None, **options):
    """id -> the step of the solve at which its outcome was given out, and the outcomes."""
    steps, given, found = [], {}, []
    for outcome in solve(
        QuadraticGenerator(tolerance=1.0),
        examples,
        verify=verify,
        objective=QuadraticObjective(),
        optimizer=find("optimizer", "adam")(lr=0.1, betas=(0.6, 0.9), hypergradient=0.0),
        criterion=find("criterion", "exact")(margin=0.0),
        slots=2,
        on_step=lambda _: steps.append(1),
        **{"max_steps": 400, "lanes": len(examples), **options},
    ):
        given[outcome.example.id] = len(steps)
        found.append(outcome)
    return given, found


def test_where_nothing_verifies_an_outcome_comes_at_the_step_at_which_it_ends():
    """Whatever goes on beside it without an end."""
    given, found = steps_of_outcomes(staggered())
    assert {each.example.id: each.row_steps for each in found} == given
    assert len(set(given.values())) > 8, "they must end one after the other"
    assert given["e12"] == 400


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_who_waits_for_certification_that_costs_nothing_waits_a_few_steps(clock):
    given, found = steps_of_outcomes(staggered(), Verifier(0.0))
    waited = [given[each.example.id] - each.row_steps for each in found]
    assert min(waited) >= 0
    assert 8 < max(waited) <= 16


def test_when_is_certified_goes_by_steps_and_not_by_time(clock):
    """A run leaves the same files, however long anything takes."""

    def batches(seconds):
        called = []

        class Slow(Verifier):
            def __call__(self, outcomes):
                called.append([each.example.id for each in outcomes])
                clock[0] += seconds
                return super().__call__(outcomes)

        steps_of_outcomes(staggered(40, endless=1), Slow(0.0))
        return called

    quick = batches(0)
    assert len(quick) > 4
    assert batches(1e6) == quick


@pytest.mark.parametrize("lanes", [2, 5])
def test_at_most_twice_the_lanes_wait_for_certification(lanes):
    verify = Verifier(0.0)
    examples = [attrs.evolve(staggered(1)[0], id=f"e{n}") for n in range(60)]
    endless = attrs.evolve(examples[0], id="endless", answer="1e6")
    given, _ = steps_of_outcomes([endless, *examples], verify, lanes=lanes, max_steps=2000)
    calls = [len(call) for call in verify.asked]
    # What a step adds to those that may wait comes with them.
    assert max(calls) < 3 * lanes
    assert given["endless"] == 2000
