"""Losses and margins of target tokens, without the logits of more than a part of them at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcm.causal_lm.products import product
from dcm.strands import StrandScores

# Most logits at a time. On a GPU half a gigabyte in float32: fewer make the products with the
# vocabulary slower (measured with 152,064 tokens: below some 500 positions), more only take memory.
# On a CPU eight megabytes, which its caches hold from one operation to the next, but never fewer
# than 256 positions, for which the vocabulary's matrix is read once.
_GPU_CHUNK, _CPU_CHUNK = 1 << 27, 1 << 21
_LEAST_LINES = 256


class TokenScores(NamedTuple):
    """Scores of M single tokens.

    Attributes:
        nll: [M] float32, nats, differentiable in the logits or hidden states.
        margin: [M] float32, target logit minus best other logit; the token is the argmax
            where it is positive.
    """

    nll: Tensor
    margin: Tensor


def by_strand(nll: Tensor, margin: Tensor, lengths: Tensor) -> StrandScores:
    """Scores of J strands from those of their tokens [M], `lengths` [J] of them each.

    Each strand's own tokens are reduced by themselves, in their order.
    """
    # Whether the lengths are right it could only tell by waiting for a GPU.
    reduce = partial(torch.segment_reduce, lengths=lengths, unsafe=True)
    least = reduce(margin, "min")
    return StrandScores(reduce(nll, "sum") / lengths, least > 0, least)


def token_scores(
    states: Tensor,
    ids: Tensor,
    temperature: float = 1.0,
    head: tuple[Tensor, Tensor | None] | None = None,
    *,
    compiled: bool = False,
) -> TokenScores:
    """Score the tokens `ids` [M] int64, in float32.

    At another `temperature` than 1 the losses are the same, but their gradient in the logits is
    that of `temperature` times the cross-entropy of `logits / temperature`: below 1 it leaves out
    tokens that are already the argmax by some margin. Source: cross-entropy temperature in
    Progressive Cramming (arXiv 2607.21231).

    Args:
        states: [M, D] hidden states with a head, or [M, V] logits without.
        ids: the tokens.
        temperature: of the gradient.
        head: weight [V, D] and bias [V] of the last linear layer. The gradient in the hidden
            states is then computed with the losses, part by part, so that logits never stand in
            memory together. Source: Liger kernel (arXiv 2410.10989).
        compiled: whether to compile what is not a matrix product.
    """
    weight, bias = head or (None, None)
    return TokenScores(
        *_TokenScores.apply(states, ids, temperature, weight, bias, compiled)  # type: ignore[no-untyped-call]
    )


class _TokenScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        ids: Tensor,
        temperature: float,
        weight: Tensor | None,
        bias: Tensor | None,
        compiled: bool,
    ) -> tuple[Tensor, Tensor]:
        width = len(weight) if weight is not None else states.shape[1]
        most = _GPU_CHUNK if states.is_cuda else _CPU_CHUNK
        parts = max(1, min(-(-len(ids) * width // most), len(ids) // _LEAST_LINES))
        wanted = ctx.needs_input_grad[0]
        measure = _measure_compiled() if compiled else _measure
        nll, margin, gradients = [], [], []
        for own, own_ids in zip(states.tensor_split(parts), ids.tensor_split(parts), strict=True):
            logits = own if weight is None else product(own, weight)
            if bias is not None:
                logits = logits + bias
            part_nll, part_margin, gradient = measure(logits, own_ids, temperature, wanted)
            nll.append(part_nll)
            margin.append(part_margin)
            if gradient is not None:
                gradients.append(gradient if weight is None else product(gradient, weight.t()))
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        margins = torch.cat(margin)
        ctx.mark_non_differentiable(margins)
        return torch.cat(nll), margins

    @staticmethod
    def backward(
        ctx: Any, nll_gradient: Tensor, _margin_gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        scaled = (gradient * nll_gradient.unsqueeze(-1)).to(gradient.dtype)
        return scaled, None, None, None, None, None


def _measure(
    logits: Tensor,
    ids: Tensor,
    temperature: float,
    wanted: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """nll [M], margin [M] and, if wanted, the gradient [M, V] of the losses in the logits."""
    # Softmax and log-softmax work line by line. A plain `exp` over the whole tensor does not:
    # on a CPU its last elements in each thread take another routine, so a row's last bits would
    # depend on where in the batch it stands.
    place, dtype = ids.unsqueeze(-1), logits.dtype
    logits = logits.float()
    scores = logits.log_softmax(-1)
    target = scores.gather(-1, place)
    compiling = torch.compiler.is_compiling()
    # In place, which saves passes over logits, but for a compiler, which makes one pass of all.
    here = torch.arange(logits.shape[-1], device=logits.device) == place if compiling else place
    least = float("-inf")
    others = scores.masked_fill(here, least) if compiling else scores.scatter_(-1, place, least)
    margin = target.squeeze(-1) - others.amax(-1)
    if not wanted:
        return -target.squeeze(-1), margin, None
    gradient = (logits if temperature == 1 else logits / temperature).softmax(-1)
    if compiling:
        gradient = gradient - here.float()
    else:
        gradient.scatter_add_(-1, place, torch.full_like(target, -1.0))
    return -target.squeeze(-1), margin, gradient.to(dtype)


@cache
def _measure_compiled() -> Callable[..., tuple[Tensor, Tensor, Tensor | None]]:
    return torch.compile(_measure, dynamic=True)
