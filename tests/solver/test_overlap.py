"""On a GPU ended attempts are seen to while it computes; nothing else comes of them for it."""

from __future__ import annotations

import importlib

import attrs
import pytest
import torch

from dcm import Example, find, solve
from dcm.solver import Stats
from dcm.solver.item import Ended
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective

solving = importlib.import_module("dcm.solver.solve")

EXAMPLES = [Example(id=f"{number}", question="q", answer=f"{number % 7}.0") for number in range(40)]


def demanding(outcomes):
    """Certifies what is exact by a margin that the first try seldom has."""
    return [attrs.evolve(each, certified=each.exact and each.margin >= 0.4) for each in outcomes]


def run(monkeypatch, overlaps, verify=None, lanes=6):
    """Outcomes by id, stats, and how many steps were made when each came."""
    plain = solving._Run.__init__

    def begin(self, *given):
        plain(self, *given)
        self.overlaps = overlaps

    monkeypatch.setattr(solving._Run, "__init__", begin)
    stats = Stats()
    found = {
        each.example.id: (each, stats.row_steps)
        for each in solve(
            QuadraticGenerator(tolerance=0.5),
            EXAMPLES,
            objective=QuadraticObjective(),
            optimizer=find("optimizer", "restarts")(find("optimizer", "adam")(lr=0.3), count=3),
            slots=1,
            max_steps=12,
            lanes=lanes,
            verify=verify,
            stats=stats,
        )
    }
    monkeypatch.undo()
    return found, stats


@pytest.mark.parametrize("verify", [None, demanding])
def test_outcomes_are_the_same(monkeypatch, verify):
    (one, one_stats), (other, other_stats) = (
        run(monkeypatch, overlaps, verify) for overlaps in (False, True)
    )
    assert one.keys() == other.keys() == {each.id for each in EXAMPLES}
    for name, (outcome, _) in one.items():
        again = other[name][0]
        assert (outcome.content is None) == (again.content is None)
        if outcome.content is not None:
            assert torch.equal(outcome.content, again.content)
        plain = [attrs.asdict(attrs.evolve(each, content=None)) for each in (outcome, again)]
        assert plain[0] == plain[1]
    assert len({each.attempts for each, _ in one.values()}) > 1
    for name in ("finished", "exact", "certified", "useful_row_steps", "ended", "uncertified"):
        assert getattr(one_stats, name) == getattr(other_stats, name)


def test_an_outcome_comes_a_step_later_at_most(monkeypatch):
    (one, _), (other, _) = (run(monkeypatch, way, lanes=40) for way in (False, True))
    later = [other[name][1] - one[name][1] for name in one if one[name][0].attempts == 1]
    assert later
    assert all(0 <= each <= 40 for each in later)  # row-steps, of 40 rows at most in a step


def test_memory_that_runs_out_meanwhile_loses_no_example(monkeypatch):
    """The step holds memory, and is over soon."""
    plain, full = Ended.alone, iter([False, True, False, True, True])

    def alone(self):
        if next(full, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Ended, "alone", alone)
        found, stats = run(monkeypatch, overlaps=True)
    assert not list(full), "it never ran out"
    assert found.keys() == {each.id for each in EXAMPLES}
    assert stats.lanes == 6
    assert stats.uncertified == 0
