"""Promise 3: what is saved is what was measured, and the best that was."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dcm import ConvergenceCriterion, Example, Modes, Status, Strands, find, solve
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective


@attrs.frozen
class Never(ConvergenceCriterion):
    """Only the step budget ends a row."""

    def init(self, rows, device=None):
        return ()

    def update(self, state, seen):
        return state, torch.zeros_like(seen.exact)


def score_again(generator, outcomes, modes):
    """Loss by mode, exactness and margin of the saved contents, scored as one other batch."""
    objective = find("objective", "joint")()
    targets = [(row, t) for row, o in enumerate(outcomes) for t in objective.targets(o.example)]
    strands = Strands(
        row=torch.tensor([row for row, _ in targets]),
        lead=modes.vectors([target.mode for _, target in targets]),
        ids=[generator.encode(target.text) for _, target in targets],
        weight=torch.ones(len(targets)),
        rows=len(outcomes),
        layout=modes.layout,
    )
    scores = generator.score(torch.stack([o.content for o in outcomes]), strands)
    found = [({}, True, float("inf")) for _ in outcomes]
    for (row, target), nll, exact, margin in zip(
        targets, *(part.tolist() for part in scores), strict=True
    ):
        losses, all_exact, least = found[row]
        found[row] = ({**losses, target.mode: nll}, all_exact and exact, min(least, margin))
    return found


@settings(max_examples=6, phases=[Phase.generate])  # shrinking would take minutes
@given(st.data())
def test_saved_is_measured(tiny, data):
    """Scored again from the outside, in another batch, a content gives the same bits."""
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=7))
    task = [Example(id=f"e{n}", question="q" * n, answer=f"a{n}") for n in sorted(set(lengths))]
    modes = Modes(tiny, data.draw(st.sampled_from(["prefix", "suffix"])))
    criterion = data.draw(st.sampled_from([Never(), find("criterion", "exact")()]))
    outcomes = list(
        solve(
            tiny,
            task,
            criterion=criterion,
            optimizer=find("optimizer", "adam")(lr=0.1),
            slots=data.draw(st.sampled_from([1, 3])),
            max_steps=data.draw(st.integers(1, 12)),
            lanes=data.draw(st.integers(1, 4)),
            modes=modes,
        )
    )
    order = data.draw(st.permutations(outcomes))
    for outcome, (losses, exact, margin) in zip(
        order, score_again(tiny, order, modes), strict=True
    ):
        assert outcome.content.dtype == torch.float32
        assert dict(outcome.losses) == losses
        assert outcome.exact is exact
        assert outcome.margin == margin


@settings(max_examples=5, phases=[Phase.generate])  # shrinking would take minutes
@given(st.integers(2, 14), st.floats(0.02, 0.5))
def test_best_measured_is_kept(tiny, max_steps, lr):
    task = [Example(id=f"e{n}", question="why " * n, answer="so") for n in (1, 4, 9)]
    optimizer = find("optimizer", "adam")(lr=lr)
    for outcome in solve(
        tiny, task, criterion=Never(), optimizer=optimizer, slots=2, max_steps=max_steps
    ):
        assert outcome.status == Status.MAX_STEPS
        assert not outcome.exact
        # A curve keeps each of the first 16 steps.
        assert [step for step, _ in outcome.curve] == list(range(1, max_steps + 1))
        best = min(outcome.curve, key=lambda point: sum(point[1].values()))
        assert (outcome.steps, dict(outcome.losses)) == (best[0], best[1])


def test_best_of_exact_contents_is_the_one_with_the_largest_margin():
    """A row that becomes exact, and then worse again: a large learning rate overshoots."""
    generator = QuadraticGenerator(tolerance=2.0)
    task = [Example(id=f"e{n}", question="q", answer=f"{n}.5") for n in range(1, 8)]
    for outcome in solve(
        generator,
        task,
        objective=QuadraticObjective(),
        criterion=Never(),
        optimizer=find("optimizer", "adam")(
            lr=1.5, betas=(0.9, 0.999), hypergradient=0.0, start_scale=1.0
        ),
        slots=2,
        max_steps=16,
    ):
        assert outcome.exact
        losses = [point["answer"] for _, point in outcome.curve]
        assert outcome.steps == losses.index(min(losses)) + 1 < 16
        assert outcome.losses["answer"] == min(losses)
        assert outcome.margin == pytest.approx(2.0 - min(losses) ** 0.5, abs=1e-4)


def test_a_content_that_is_exact_outranks_every_other(tiny):
    """The margin decides, not the loss, once all tokens are right."""
    (outcome,) = solve(
        tiny,
        [Example(id="e", question="a", answer="b")],
        optimizer=find("optimizer", "adam")(lr=0.1),
        slots=8,
        max_steps=150,
    )
    assert outcome.status == Status.CONVERGED
    assert outcome.exact
    assert outcome.margin > 0
    assert outcome.steps == outcome.row_steps
