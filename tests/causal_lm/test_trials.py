"""What may be done with a model shows when it is tried, whatever it is called."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dcm import GeneratorError, Strands, StrandScores
from dcm.causal_lm import CausalLM
from dcm.causal_lm.generator_loss import generator_loss
from dcm.causal_lm.trials import scores_as_alone
from dcm.causal_lm.tried import Tried
from dcm.testing.doubles import TinyGenerator


@pytest.fixture(scope="module")
def lm():
    return TinyGenerator().lm


def distorted(lm, content, strands, *, how):
    """Scores that are a little wrong."""
    scores = lm.score(content, strands)
    longest = torch.tensor([len(ids) for ids in strands.ids]).argmax()
    if how == "one loss":
        return scores._replace(nll=scores.nll + 2e-3 * scores.nll * (torch.arange(4) == longest))
    if how == "one gradient":
        # The loss is right, and the first slot's part of its gradient is lost.
        cut = torch.cat([content[:, :1].detach(), content[:, 1:]], 1)
        return StrandScores(lm.score(cut, strands).nll, scores.exact, scores.margin)
    raise TypeError("a way that the model does not know")


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("length", [64, 200])
def test_a_way_of_scoring_is_right_or_found_out(lm, layout, length):
    assert scores_as_alone(lm.model, lm.score, length, layout)
    for how in ("one loss", "one gradient", "an error"):
        wrong = partial(distorted, lm, how=how)
        assert not scores_as_alone(lm.model, wrong, length, layout), how


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_few_bits_what_is_off_once_may_be_a_router_that_turned(build, dtype):
    """What is off each time is wrong, and in float32 what is off once."""
    lm = build("gpt_oss")
    lm = CausalLM(deepcopy(lm.model).to(dtype), lm.tokenizer, packed=True)
    drawn = []

    def off(content, strands, *, times, share=0.4):
        drawn.append(content)
        scores = lm.score(content, strands)
        nll = scores.nll
        if len(drawn) <= times:  # the loss is right, and a part of its gradient is lost
            nll = (1 - share) * nll + share * nll.detach()
        return StrandScores(nll, scores.exact, scores.margin)

    for times, right in ((0, True), (1, dtype == torch.bfloat16), (9, False)):
        drawn.clear()
        wrong = partial(off, times=times)
        assert scores_as_alone(lm.model, wrong, 64, "suffix") == right


def test_what_cannot_be_scored_a_second_time_is_not_used(build):
    lm = build("gpt_oss")
    lm = CausalLM(deepcopy(lm.model).bfloat16(), lm.tokenizer, packed=True)
    drawn = []

    def once(content, strands):
        drawn.append(content)
        if len(drawn) > 1:
            raise RuntimeError("a kernel that there is not")
        return lm.score(content.detach() + 0.1 * (content - content.detach()), strands)

    assert not scores_as_alone(lm.model, once, 64, "suffix")
    assert len(drawn) == 2


def test_what_is_right_for_short_lines_only_is_used_for_those_only(build):
    """A window of attention that a mask from outside replaces: up to its length nothing shows."""
    lm = build("gpt_neo")
    assert lm.shares_prompts("suffix", 60)
    assert not lm.shares_prompts("suffix", 120)
    content, lead = torch.randn(1, 4, 64) * 0.3, torch.randn(2, 64) * 0.3
    ids = [lm.encode("x" * 150), lm.encode("y")]
    strands = Strands(torch.tensor([0, 0]), lead, ids, torch.ones(2), 1, "suffix")
    for nll, own, mode in zip(lm.score(content, strands).nll, ids, lead, strict=True):
        alone = generator_loss(lm.model, torch.tensor(own), torch.cat([content[0], mode[None]]))
        assert nll.item() == pytest.approx(alone.item(), abs=2e-5)


def test_memory_that_runs_out_says_nothing_of_the_model(lm):
    def full(content, strands):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        scores_as_alone(lm.model, full, 64, "suffix")


def test_a_model_that_memory_does_not_hold_when_it_is_tried_is_told(lm, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr("dcm.causal_lm.trials.states", full)
    with pytest.raises(GeneratorError, match="Memory runs out where it is tried: CUDA out of mem"):
        Tried(lm.model, 512).at_load()


class _Dropping(torch.nn.Module):
    """Computes on bare numbers, as some quantised layers do."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.inner(states.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_deep_model_is_taken_in_few_bits_unless_its_layers_drop_the_gradient(dtype) -> None:
    config = AutoConfig.for_model(
        "llama",
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=32,
        num_attention_heads=4,
        vocab_size=257,
    )
    torch.manual_seed(0)
    model = (
        AutoModelForCausalLM.from_config(config, dtype=dtype)
        .eval()
        .requires_grad_(requires_grad=False)
    )
    Tried(model, 512).at_load()
    for layer in model.model.layers:
        layer.input_layernorm = _Dropping(layer.input_layernorm)
        layer.post_attention_layernorm = _Dropping(layer.post_attention_layernorm)
    with pytest.raises(GeneratorError, match="gradient"):
        Tried(model, 512).at_load()
