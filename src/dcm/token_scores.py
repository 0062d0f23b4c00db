"""Losses and margins of target tokens from their logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class TokenScores(NamedTuple):
    """Scores of single tokens.

    Attributes:
        nll: [...] float32, nats, differentiable in the logits.
        margin: [...] float32, target logit minus best other logit; the token is the argmax
            where it is positive.
    """

    nll: Tensor
    margin: Tensor


def token_scores(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> TokenScores:
    """Score the tokens `ids` [...] int64 under `logits` [..., V], in float32.

    At another `temperature` than 1 the losses are the same, but their gradient in the logits is
    that of `temperature` times the cross-entropy of `logits / temperature`: below 1 it leaves out
    tokens that are already the argmax by some margin. Source: cross-entropy temperature in
    Progressive Cramming (arXiv 2607.21231).
    """
    return TokenScores(*_TokenScores.apply(logits, ids, temperature))  # type: ignore[no-untyped-call]


class _TokenScores(torch.autograd.Function):
    # Cross-entropy by hand: autograd's own keeps further float32 copies of all the logits.
    # Softmax and log-softmax work line by line. A plain `exp` over the whole tensor does not:
    # on a CPU its last elements in each thread take another routine, so a row's last bits would
    # depend on where in the batch it stands.

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        place = ids.unsqueeze(-1)
        scores = logits.float().log_softmax(-1)
        target = scores.gather(-1, place).squeeze(-1)
        best_other = scores.scatter_(-1, place, float("-inf")).amax(-1)
        ctx.save_for_backward(logits, place)
        ctx.temperature = temperature
        margin = target - best_other
        ctx.mark_non_differentiable(margin)
        return -target, margin

    @staticmethod
    def backward(
        ctx: Any, nll_gradient: Tensor, _margin_gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        logits, place = ctx.saved_tensors
        gradient = (logits.float() / ctx.temperature).softmax(-1)
        gradient.scatter_add_(-1, place, gradient.new_full(place.shape, -1.0))
        return gradient.mul_(nll_gradient.unsqueeze(-1)).to(logits.dtype), None, None
