"""CausalLM: what it does for models of every build, bit for bit where it promises so."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dcm import Modes, Strands, bucket
from dcm.causal_lm.decoding import prompts
from dcm.causal_lm.generator_loss import generator_loss
from dcm.testing.doubles import TinyGenerator

BUILDS = ["qwen2", "mixtral", "mistral", "gemma3_text", "lfm2", "falcon", "bloom"]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("name", BUILDS)
def test_strands_score_as_they_do_alone(name, layout, build):
    """Windows of attention, layers that are no attention, positions that a model counts itself:
    whatever the model is made of, rows and strands that are scored together stay apart."""
    lm = build(name)
    content, lead = noise(2, 3, 64), noise(3, 64, seed=1)
    ids = [lm.encode(text) for text in ("a text that is longer than the window", "a", "other")]
    rows = [0, 0, 1]
    strands = Strands(torch.tensor(rows), lead, ids, torch.ones(3), 2, layout)
    found = lm.score(content, strands).nll
    for nll, row, mode, own in zip(found, rows, lead, ids, strict=True):
        (prompt,) = prompts(content[row : row + 1], mode[None], layout)
        expected = generator_loss(lm.model, torch.tensor(own), prompt)
        assert nll.item() == pytest.approx(expected.item(), abs=2e-5)


def test_a_model_that_gives_all_logits_is_scored_at_the_target_too():
    """`logits_to_keep` is a wish that a model need not know."""
    lm = TinyGenerator().load()
    content, lead = noise(1, 5, 64), noise(1, 64, seed=1)
    strands = Strands(torch.tensor([0]), lead, [lm.encode("target")], torch.ones(1), 1)
    expected = lm.score(content, strands)
    forward = lm.model.forward

    def forgetful(*args, logits_to_keep=0, **kwargs):
        return forward(*args, **kwargs)

    lm.model.forward = forgetful
    for one, other in zip(lm.score(content, strands), expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture(scope="module")
def tiny():
    return TinyGenerator()


@settings(max_examples=25, phases=[Phase.generate])  # shrinking would take minutes
@given(st.data())
def test_a_rows_scores_and_gradient_are_the_same_bits_in_any_batch(tiny, data):
    modes = Modes(tiny, data.draw(st.sampled_from(["prefix", "suffix"])))
    slots = data.draw(st.sampled_from([1, 2, 5, 32]))
    lengths = data.draw(
        st.lists(st.tuples(st.integers(1, 70), st.integers(1, 20)), min_size=2, max_size=24)
    )
    content = noise(len(lengths), slots, 64)

    def scored(rows):
        ids = [(*[7] * (n - 1), 256) for row in rows for n in lengths[row]]
        strands = Strands(
            torch.arange(len(rows)).repeat_interleave(2),
            modes.vectors(["question", "answer"] * len(rows)),
            ids,
            torch.ones(len(ids)),
            len(rows),
            modes.layout,
        )
        own = content[rows].clone().requires_grad_()
        scores = tiny.score(own, strands)
        (gradient,) = torch.autograd.grad(scores.nll.sum(), own)
        return [
            (
                scores.nll[2 * place : 2 * place + 2].tolist(),
                scores.margin[2 * place : 2 * place + 2].tolist(),
                gradient[place].tolist(),
            )
            for place in range(len(rows))
        ]

    everyone = data.draw(st.permutations(range(len(lengths))))
    together = dict(zip(everyone, scored(list(everyone)), strict=True))
    for row in data.draw(st.lists(st.sampled_from(everyone), min_size=1, max_size=3)):
        assert scored([row]) == [together[row]]


def test_padding_depends_on_a_targets_own_length_alone():
    for length in range(1, 3000):
        padded = bucket(length)
        assert length <= padded
        assert padded % 8 == 0
        assert padded - length < max(8, length / 8)
    assert [bucket(n) for n in (1, 8, 9, 64, 65, 128, 129)] == [8, 8, 16, 64, 72, 128, 144]


def test_the_reference_is_the_mean_negative_log_probability(tiny):
    model, ids = tiny.lm.model, torch.tensor([5, 9, 256])
    prompt = noise(2, 64)
    table = model.get_input_embeddings().weight
    expected = 0.0
    for place in range(3):
        before = torch.cat([prompt, table[ids[:place]]])
        probability = model(inputs_embeds=before[None]).logits[0, -1].double().softmax(-1)
        expected -= math.log(probability[ids[place]]) / 3
    assert generator_loss(model, ids, prompt).item() == pytest.approx(expected, abs=1e-5)


def test_prompts_hold_the_mode_before_or_behind_the_content():
    content, lead = torch.arange(12.0).view(2, 3, 2), torch.tensor([[90.0, 91], [92, 93]])
    before, behind = (prompts(content, lead, layout) for layout in ("prefix", "suffix"))
    assert torch.equal(before[1], torch.cat([lead[1:], content[1]]))
    assert torch.equal(behind[1], torch.cat([content[1], lead[1:]]))


def test_equal_models_are_equal_generators():
    assert TinyGenerator(seed=1) == TinyGenerator(seed=1) != TinyGenerator(seed=2)
    one, other = TinyGenerator(seed=1), attrs.evolve(TinyGenerator(), seed=1)
    ids = torch.arange(5)
    assert torch.equal(one.embed(ids), other.embed(ids))
