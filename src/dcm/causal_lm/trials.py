"""Trials: what may be done with a model is tried with it, once, and never looked up by its name.

Windows and chunks of attention, layers that are no attention, positions that a model counts for
itself or stretches with the length of what it reads: each is harmless in one way of running a model
and wrong in another, and what a model is called says little of it. So every way of running it that
is faster than the plainest is compared with the plainest before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from dcm.causal_lm.generator_loss import generator_loss
from dcm.memory_limit import is_out_of_memory
from dcm.strands import Layout, Strands, StrandScores

Score = Callable[[Tensor, Strands], StrandScores]
"""A way of scoring strands behind contents [R, K, D]."""

# Slots of the contents in a trial, and tokens of its short strands.
_SLOTS, _SHORT = 4, 5


@attrs.frozen
class Rounding:
    """How far two ways of computing the same may differ by rounding alone.

    Attributes:
        value: of losses and logits, as a share of the largest.
        gradient: of gradients, as a share of their norm.
    """

    value: float
    gradient: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> Rounding:
        """That of a model which computes in `dtype`.

        Some ten times what was measured with tiny models of a hundred architectures; what is
        computed wrongly is off by more than that.
        """
        known = {torch.float64: cls(1e-7, 1e-6), torch.float32: cls(1e-4, 2e-3)}
        return known.get(dtype, cls(3e-2, 0.15))


def scores_as_alone(
    model: Any, score: Score, length: int, layout: Layout, *, count: int = 2
) -> bool:
    """Whether a way of scoring gives each strand the loss and the gradient that it has alone.

    Alone is one sequence without padding. A row has a strand almost as long as `length` and short
    ones before and behind it, so that what reaches only so far (a window of attention) or begins
    only there (sparse attention, stretched positions) shows up to that length, as does what leaks
    from one strand into the next.

    Args:
        model: a Hugging Face causal language model.
        score: the way of scoring; where it cannot do it at all, it raises.
        length: positions that all strands of a row take together with their content.
        layout: where the mode vector stands.
        count: strands of a row.
    """
    embedding = model.get_input_embeddings()
    rounding = Rounding.of(embedding.weight.dtype)
    content, strands = _rows(embedding, length, layout, count)
    content.requires_grad_()
    with torch.enable_grad():
        try:
            nll = score(content, strands).nll
            (gradient,) = torch.autograd.grad(nll.sum(), content)
        except Exception as error:  # whatever a model's own code raises
            if is_out_of_memory(error):
                raise
            return False
        alone = torch.stack(
            [
                generator_loss(model, torch.tensor(ids, device=lead.device), prompt)
                for ids, lead, prompt in zip(
                    strands.ids, strands.lead, _prompts(content, strands), strict=True
                )
            ]
        )
        (true_gradient,) = torch.autograd.grad(alone.sum(), content)
    near = (nll - alone).abs().max() <= rounding.value * alone.abs().max()
    # Row by row: a strand alone is right whatever stands in other rows.
    off = (gradient - true_gradient).flatten(1).norm(dim=1)
    return bool(near) and bool(
        (off <= rounding.gradient * true_gradient.flatten(1).norm(dim=1)).all()
    )


def _rows(
    embedding: torch.nn.Module, length: int, layout: Layout, count: int
) -> tuple[Tensor, Strands]:
    """Contents [2, K, D] and the strands of two rows, the long one last and first."""
    table: Tensor = embedding.weight  # type: ignore[assignment]
    device, rows = table.device, 2
    short = [_SHORT] * (count - 1)
    modes = count if layout == "suffix" else 1
    long = max(_SHORT, length - _SLOTS - modes - sum(short))
    lengths = [[*short, long], [long, *short]]

    def ids(number: int, first: int) -> Tensor:
        # Spread over the vocabulary, and never twice the same beginning.
        return (torch.arange(number, device=device) * 97 + 31 * first + 3) % len(table)

    with torch.no_grad():
        content = embedding(ids(rows * _SLOTS, 0)).float().view(rows, _SLOTS, -1)
        leads = embedding(ids(modes, 5)).float()
    targets = [
        tuple(ids(number, 7 + 3 * place + row).tolist())
        for row, own in enumerate(lengths)
        for place, number in enumerate(own)
    ]
    places = list(range(modes)) * (rows * count // modes)
    return content, Strands(
        row=torch.arange(rows, device=device).repeat_interleave(count),
        lead=leads[places],
        ids=targets,
        weight=torch.ones(len(targets), device=device),
        rows=rows,
        layout=layout,
        modes=[str(place) for place in places],
    )


def _prompts(content: Tensor, strands: Strands) -> list[Tensor]:
    """[K+1, D] of each strand."""
    found = []
    for row, lead in zip(strands.row.tolist(), strands.lead, strict=True):
        parts = [lead[None], content[row]]
        found.append(torch.cat(parts if strands.layout == "prefix" else parts[::-1]))
    return found
