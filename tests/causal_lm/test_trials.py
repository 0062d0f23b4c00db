"""What may be done with a model shows when it is tried, whatever it is called."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from dcm import Strands, StrandScores
from dcm.causal_lm.generator_loss import generator_loss
from dcm.causal_lm.trials import scores_as_alone
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
