"""Certification: of what is read back from disk, decoded freely, verbatim."""

from __future__ import annotations

import attrs
import pytest
import torch

from dcm import Example, Modes, Outcome, Status, Target, find, solve
from dcm.running.certify import Certifier
from dcm.running.run_directory import RunDirectory
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective, TinyGenerator


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", {})


@pytest.fixture(scope="module")
def tiny():
    return TinyGenerator()


@pytest.fixture(scope="module")
def solved(tiny):
    """Exact outcomes, of targets of different lengths."""
    examples = [Example(id=f"e{n}", question=f"q{n}", answer="a" * n) for n in range(1, 5)]
    outcomes = list(
        solve(tiny, examples, optimizer=find("optimizer", "adam")(lr=0.1), slots=8, max_steps=200)
    )
    assert all(outcome.exact for outcome in outcomes)
    assert all(outcome.certified is None for outcome in outcomes)
    return sorted(outcomes, key=lambda outcome: outcome.example.id)


def certifier(generator, run, objective=None, layout="prefix"):
    objective = objective or find("objective", "joint")()
    return Certifier(generator, objective, Modes(generator, layout), run)


def test_exact_contents_are_certified_and_saved(tiny, run, solved):
    certified = certifier(tiny, run)(solved)
    assert [each.example for each in certified] == [each.example for each in solved]
    for outcome in certified:
        assert outcome.certified is True
        example = outcome.example
        assert outcome.decoded == {"question": example.question, "answer": example.answer}
        (saved,) = run.load_contents([run.ref(example.id)])
        assert torch.equal(saved, outcome.content)


@pytest.mark.parametrize("damage", ["start", "other", "longer", "shorter"])
def test_what_does_not_generate_its_text_is_not_certified(tiny, run, solved, damage):
    outcome = solved[1]
    if damage == "start":
        outcome = attrs.evolve(outcome, content=torch.zeros_like(outcome.content))
    elif damage == "other":
        outcome = attrs.evolve(outcome, content=solved[2].content)
    else:
        text = outcome.example.answer
        answer = text + text if damage == "longer" else text[:1]
        outcome = attrs.evolve(outcome, example=attrs.evolve(outcome.example, answer=answer))
    good, bad = certifier(tiny, run)([solved[0], outcome])
    assert (good.certified, bad.certified) == (True, False)
    assert set(bad.decoded) == {"question", "answer"}


def test_another_layout_is_another_text(tiny, run, solved):
    found = certifier(tiny, run, layout="suffix")(solved)
    assert not any(outcome.certified for outcome in found)


def test_it_is_the_saved_content_that_counts(tiny, tmp_path, solved):
    class Forgets(RunDirectory):
        def load_contents(self, refs):
            return [torch.zeros_like(content) for content in super().load_contents(refs)]

    run = Forgets.create(tmp_path / "run", {})
    assert not any(outcome.certified for outcome in certifier(tiny, run)(solved))


def quadratic(run, *answers, memory=None):
    """Outcomes whose contents have a mean of 1.5, so that they generate "1.5"."""
    outcomes = [
        Outcome(
            example=Example(id=f"e{n}", question="q", answer=answer),
            status=Status.CONVERGED,
            content=torch.full((2, 4), 1.5),
        )
        for n, answer in enumerate(answers)
    ]
    return certifier(QuadraticGenerator(), run, QuadraticObjective())(outcomes)


def test_each_outcome_gets_its_own_verdict(run):
    found = quadratic(run, "1.5", "2.5", "a much longer answer", "1.5")
    assert [outcome.certified for outcome in found] == [True, False, False, True]
    assert {outcome.decoded["answer"] for outcome in found} == {"1.5"}


def test_every_target_counts_and_the_first_of_a_mode_is_shown(run):
    class Two(QuadraticObjective):
        def targets(self, example):
            return (Target("answer", "1.5"), Target("answer", example.answer))

    outcome = Outcome(
        Example(id="e", question="q", answer="2.5"), Status.CONVERGED, torch.full((1, 4), 1.5)
    )
    (found,) = certifier(QuadraticGenerator(), run, Two())([outcome])
    assert found.certified is False
    assert found.decoded == {"answer": "1.5"}


def test_a_text_that_holds_an_end_of_text_token_is_certified_as_a_whole(tiny, run, solved):
    """Generating what stands before it is not enough."""
    outcome = solved[1]
    answer = outcome.example.answer + "<|endoftext|>and more"
    outcome = attrs.evolve(outcome, example=attrs.evolve(outcome.example, answer=answer))
    (found,) = certifier(tiny, run)([outcome])
    assert found.decoded["answer"] == "aa"
    assert found.certified is False


def test_short_memory_decodes_in_parts(tiny, run, solved):
    sizes = []

    @attrs.frozen
    class Small(TinyGenerator):
        def decode(self, content, lead, max_new_tokens, layout="prefix"):
            sizes.append(len(content))
            if len(content) > 2:
                raise torch.OutOfMemoryError("no room")
            return tiny.decode(content, lead, max_new_tokens, layout)

    found = certifier(Small(), run)(solved)
    assert all(outcome.certified for outcome in found)
    assert max(sizes) > 2
