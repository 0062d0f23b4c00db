"""Rounding: how far two right ways of computing the same may be apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor

from dcm.causal_lm.regions import repeated_layers


@attrs.frozen
class Rounding:
    """How far two ways of computing the same may differ by rounding alone, as shares.

    Attributes:
        loss: of the largest loss.
        states: of the norm of hidden states or logits, computed by the same kernels.
        decoding: of the norm of logits, where other kernels carry a state from token to token.
        gradient: of the gradient's norm.
    """

    loss: float
    states: float
    decoding: float
    gradient: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> Rounding:
        """That of a model which computes in `dtype`.

        Float32's lie above what tiny models of some fifty architectures showed; those of fewer
        bits are estimates, within which SmolLM2-135M in bfloat16 was right.
        """
        if dtype == torch.float64:
            return cls(1e-7, 1e-7, 1e-7, 1e-6)
        if dtype == torch.float32:
            return cls(1e-4, 3e-4, 5e-5, 2e-3)
        return cls(3e-2, 0.1, 0.2, 0.15)


@contextmanager
def rounded_again(model: Any) -> Iterator[None]:
    """Within it a model's layers' results are off by as much as they were rounded, by chance.

    Other kernels round so. Through routers of experts, which turn with a rounding, much may come of
    it.
    """
    random = torch.Generator().manual_seed(0)

    def off(states: Tensor) -> Tensor:
        noise = torch.randn(states.shape, generator=random).to(states)
        return states * (1 + torch.finfo(states.dtype).eps * noise)

    def hook(_module: Any, _given: Any, out: Any) -> Any:
        return off(out) if isinstance(out, Tensor) else (off(out[0]), *out[1:])

    hooks = [layer.register_forward_hook(hook) for layer in repeated_layers(model)]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
