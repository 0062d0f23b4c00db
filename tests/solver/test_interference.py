"""How far the gradients of a row's modes agree, and objectives that combine them."""

from __future__ import annotations

import attrs
import pytest
import torch

from dcm import Example, Modes, Objective, Strands
from dcm.running.certify import Certifier
from dcm.solver import solve
from dcm.testing.doubles import TinyGenerator
from dcm_objectives.joint import Joint
from dcm_objectives.paraphrase import Paraphrase
from dcm_objectives.project_conflicts import ProjectConflicts
from dcm_optimizers.adam import Adam

EXAMPLES = [
    Example("a", "Who wrote the notes?", "Ada", variants=["Whose notes are these?", "By whom?"]),
    Example("b", "Where is Rome?", "Italy"),
]


@pytest.fixture(scope="module")
def generator() -> TinyGenerator:
    return TinyGenerator()


def gradient_of(generator, modes, content, mode, text):
    """The gradient of one text's loss in a content [1, K, D]."""
    strand = Strands(
        torch.tensor([0]), modes.vectors([mode]), [generator.encode(text)], torch.ones(1), 1,
        modes.layout, Adam().temperature(content.shape[1]),
    )  # fmt: skip
    leaf = content.clone().requires_grad_()
    (found,) = torch.autograd.grad(generator.score(leaf, strand).nll.sum(), leaf)
    return found.flatten()


@attrs.frozen
class Still(Objective):
    """Joint, with gradients of zero, so that contents stay; remembers those of the modes."""

    seen: list = attrs.field(factory=list, eq=False)

    def targets(self, example):
        return Joint().targets(example)

    def loss(self, nll, strands):
        return Joint().loss(nll, strands)

    @property
    def combines(self):
        return True

    def combine(self, gradients):
        self.seen.append(gradients)
        return torch.zeros_like(gradients[:, 0])


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_the_cosine_is_that_of_the_gradients_of_question_and_answer(generator, layout):
    modes, still = Modes(generator, layout), Still()
    for outcome in solve(
        generator, EXAMPLES, objective=still, slots=4, max_steps=1, modes=modes, interference=True
    ):
        content, example = outcome.content[None], outcome.example
        question = gradient_of(generator, modes, content, "question", example.question)
        answer = gradient_of(generator, modes, content, "answer", example.answer)
        expected = torch.nn.functional.cosine_similarity(question, answer, dim=0)
        # One measurement an attempt: the last is what the outcome tells of.
        assert outcome.cosines == pytest.approx([expected.item()], abs=1e-4)


def test_it_is_measured_at_every_step_and_only_if_asked(generator):
    (asked,) = solve(generator, EXAMPLES[:1], slots=4, max_steps=30, interference=True)
    (plain,) = solve(generator, EXAMPLES[:1], slots=4, max_steps=30)
    assert len(asked.cosines) >= asked.steps > 1
    assert all(-1.001 <= each <= 1.001 for each in asked.cosines)
    assert plain.cosines == ()
    assert asked.steps == plain.steps
    torch.testing.assert_close(asked.content, plain.content, rtol=1e-3, atol=1e-3)


def test_asking_takes_as_many_passes_as_not_asking(generator, monkeypatch):
    passes = []
    score = TinyGenerator.score

    def counted(self, content, strands):
        passes.append(len(strands))
        return score(self, content, strands)

    monkeypatch.setattr(TinyGenerator, "score", counted)
    counts = []
    for asked in (False, True):
        passes.clear()
        list(solve(generator, EXAMPLES, slots=4, max_steps=10, interference=asked))
        counts.append(list(passes))
    assert counts[0] == counts[1]


def test_a_row_whose_modes_are_apart_ends_the_same_alone_and_among_others(generator):
    objective = ProjectConflicts(Paraphrase())

    def solved(*examples):
        found = solve(
            generator, examples, objective=objective, slots=4, max_steps=12, interference=True
        )
        return {each.example.id: each for each in found}["a"]

    alone, among = solved(EXAMPLES[0]), solved(EXAMPLES[1], EXAMPLES[0])
    assert torch.equal(alone.content, among.content)
    assert alone.cosines == among.cosines


def test_projecting_leaves_what_does_not_fight_and_takes_out_what_does():
    objective = ProjectConflicts()
    # Row 0: at right angles. Row 1: against each other, but for the second slot.
    gradients = torch.tensor(
        [[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]],
         [[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 0.0]]]]
    )  # fmt: skip
    combined = objective.combine(gradients)
    assert combined[0].tolist() == [[1.0, 2.0], [0.0, 0.0]]
    # The first loses its part along the second, the second half of itself along the first.
    assert combined[1].tolist() == [[-0.5, 0.0], [0.0, 1.5]]


def test_a_projected_gradient_harms_no_mode():
    torch.manual_seed(0)
    gradients = torch.randn(50, 2, 3, 4)
    combined = ProjectConflicts().combine(gradients)
    for mode in range(2):
        assert ((combined * gradients[:, mode]).sum((1, 2)) >= -1e-4).all()


def test_the_projecting_objective_converges(generator):
    (outcome,) = solve(
        generator, EXAMPLES[:1], objective=ProjectConflicts(), slots=8, max_steps=300
    )
    assert outcome.exact


def test_only_checked_targets_are_certified(generator, tmp_path):
    from dcm.running.run_directory import RunDirectory

    run = RunDirectory.create(tmp_path / "run", {})
    certify = Certifier(generator, Paraphrase(), Modes(generator), run)
    (outcome,) = solve(
        generator, EXAMPLES[:1], objective=Paraphrase(), slots=16, max_steps=300, verify=certify
    )
    assert outcome.certified
    assert outcome.decoded == {"question": "Who wrote the notes?", "answer": "Ada"}
