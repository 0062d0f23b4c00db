"""Baselines: each is what it says, measured from the outside."""

from __future__ import annotations

import math

import pytest
import torch

from dcm import Baselines, Example, Modes, RowKey, Strands, find, solve
from dcm.causal_lm.generator_loss import generator_loss
from dcm.solver import Item
from dcm.solver.measured import by_mode
from dcm.testing.doubles import TinyGenerator

EXAMPLES = [
    Example(id="a", question="what is it?", answer="that"),
    Example(id="b", question="why? " * 10, answer="so"),
    Example(id="c", question="x" * 200, answer="y" * 80),
]


@pytest.fixture(scope="module")
def tiny():
    return TinyGenerator()


def items_of(tiny, examples=EXAMPLES):
    return [Item.of(example, find("objective", "joint")(), tiny) for example in examples]


def measure(tiny, examples=EXAMPLES, draws=2, slots=3, seed=4, layout="prefix"):
    modes = Modes(tiny, layout)
    return Baselines(draws).measure(tiny, items_of(tiny, examples), slots, modes, seed)


def reference(tiny, prompt, text):
    ids = torch.tensor(tiny.encode(text))
    return generator_loss(tiny.lm.model, ids, prompt).item()


def test_full_context_is_the_loss_of_ordinary_text(tiny):
    """An answer after its question, a question after "Question:", a line each; as texts open."""
    measured = measure(tiny)
    for example, found in zip(EXAMPLES[:2], measured[:2], strict=True):
        for target, (text, before) in enumerate(
            [(example.question, "Question:\n"), (example.answer, f"{example.question}\n")]
        ):
            prompt = (*tiny.opening, *tiny.encode(before)[:-1])
            expected = reference(tiny, tiny.embed(torch.tensor(prompt)), text)
            assert found["full_context"][target] == (pytest.approx(expected, abs=1e-5),)


def test_a_context_that_does_not_fit_is_not_measured(tiny):
    question, answer = measure(tiny)[2]["full_context"]
    assert math.isfinite(question[0])
    assert math.isnan(answer[0])


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_random_contents_are_at_the_models_scale(tiny, layout):
    (found,) = measure(tiny, EXAMPLES[:1], draws=2, layout=layout)
    modes = Modes(tiny, layout)
    for draw in range(2):
        noise = torch.randn(3, 64, generator=RowKey(4, "a", draw).random("baseline"))
        content = noise * tiny.embedding_scale
        for target, (mode, text) in enumerate(
            [("question", EXAMPLES[0].question), ("answer", EXAMPLES[0].answer)]
        ):
            lead = modes.vector(mode)[None]
            parts = [lead, content] if layout == "prefix" else [content, lead]
            expected = reference(tiny, torch.cat(parts), text)
            assert found["random"][target][draw] == pytest.approx(expected, abs=1e-5)


def test_a_single_token_is_one_token_of_the_vocabulary(tiny):
    (found,) = measure(tiny, EXAMPLES[:1], draws=3)
    table = tiny.embed(torch.arange(257))
    strands = Strands(
        row=torch.zeros(257, dtype=torch.int64),
        lead=table,
        ids=[tiny.encode("that")] * 257,
        weight=torch.ones(257),
        rows=1,
    )
    possible = tiny.score(torch.zeros(1, 0, 64), strands).nll
    assert len(found["single_token"][1]) == 3
    for loss in found["single_token"][1]:
        assert (possible - loss).abs().min() < 1e-5


def test_an_item_has_the_same_baselines_in_any_company(tiny):
    together = measure(tiny)
    for place, example in enumerate(EXAMPLES):
        assert repr(measure(tiny, [example])) == repr([together[place]])
    assert repr(measure(tiny, EXAMPLES[::-1])[::-1]) == repr(together)


def test_another_seed_draws_others(tiny):
    one, other = measure(tiny, EXAMPLES[:1])[0], measure(tiny, EXAMPLES[:1], seed=5)[0]
    assert one["random"] != other["random"]
    assert one["full_context"] == other["full_context"]
    assert len(set(one["random"][0])) == 2


def test_targets_of_a_mode_are_averaged_over_draws_and_targets(tiny):
    (item,) = items_of(tiny, EXAMPLES[:1])
    measured = {"random": ((1.0, 3.0), (4.0, 8.0)), "full_context": ((5.0,), (math.nan,))}
    found = by_mode(item, measured)
    assert found["random"] == {"question": 2.0, "answer": 6.0}
    assert found["full_context"]["question"] == 5.0
    assert math.isnan(found["full_context"]["answer"])


def test_outcomes_carry_them(tiny):
    (outcome,) = solve(tiny, EXAMPLES[:1], slots=3, max_steps=1, seed=4, baselines=Baselines(2))
    (item,) = items_of(tiny, EXAMPLES[:1])
    assert outcome.baselines == by_mode(item, measure(tiny, EXAMPLES[:1])[0])


def test_at_least_one_draw():
    with pytest.raises(ValueError, match="draws"):
        Baselines(0)
