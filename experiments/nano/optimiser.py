"""Muon for the matrices inside the layers, AdamW for all other parameters.

Muon: momentum whose update is made orthogonal by a Newton-Schulz iteration (K. Jordan 2024),
scaled to the root mean square of an AdamW update (Liu et al. 2025, arXiv:2502.16982).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def orthogonal(x: Tensor) -> Tensor:
    """Nearest (half-)orthogonal matrices, roughly: [N, A, B] -> [N, A, B], in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    turned = x.shape[-2] > x.shape[-1]
    y = (x.mT if turned else x).bfloat16()
    y = y / (y.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = y @ y.mT
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.mT if turned else y


@dataclass
class Muon:
    """Muon over matrices; those of one shape are stepped together."""

    matrices: list[nn.Parameter]
    momentum: float = 0.95
    weight_decay: float = 0.1
    shapes: dict[torch.Size, list[nn.Parameter]] = field(default_factory=dict)
    buffers: dict[torch.Size, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for matrix in self.matrices:
            self.shapes.setdefault(matrix.shape, []).append(matrix)
        for shape, group in self.shapes.items():
            self.buffers[shape] = torch.zeros(len(group), *shape, device=group[0].device)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step at learning rate ``rate``, from the parameters' gradients."""
        for shape, group in self.shapes.items():
            gradient = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            buffer = self.buffers[shape].lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(buffer, self.momentum)).float()
            scale = rate * 0.2 * max(shape) ** 0.5
            weights = [matrix.data for matrix in group]
            torch._foreach_mul_(weights, 1 - rate * self.weight_decay)
            torch._foreach_add_(weights, list(update.unbind()), alpha=-scale)


class Optimiser:
    """Both optimisers under one learning-rate factor."""

    def __init__(
        self, model: nn.Module, matrix_rate: float, vector_rate: float, decay: float
    ) -> None:
        named = dict(model.named_parameters())
        inner = [p for n, p in named.items() if p.ndim == 2 and "embed" not in n]
        embedding = [p for n, p in named.items() if "embed" in n]
        vectors = [p for p in named.values() if p.ndim == 1]
        self.matrix_rate, self.vector_rate = matrix_rate, vector_rate
        self.muon = Muon(inner, weight_decay=decay)
        self.adam = torch.optim.AdamW(
            [{"params": embedding, "weight_decay": decay}, {"params": vectors, "weight_decay": 0}],
            lr=vector_rate,
            betas=(0.9, 0.98),
            eps=1e-10,
            fused=embedding[0].is_cuda,
        )

    def step(self, factor: float) -> None:
        """One step at ``factor`` of the learning rates; clears the gradients."""
        self.muon.step(self.matrix_rate * factor)
        for group in self.adam.param_groups:
            group["lr"] = self.vector_rate * factor
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for matrix in self.muon.matrices:
            matrix.grad = None
