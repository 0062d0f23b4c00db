"""The last layer: nothing reads what it makes of positions that predict no token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dcm.causal_lm.regions import repeated_layers


class LastLayer:
    """Spares the last layer's feed-forward network the positions at which nothing is predicted.

    Those are the first K: attention reads what earlier layers make of them, nothing reads what
    the last one's feed-forward network does. A model of few layers with many slots is a
    twentieth faster for it.

    Args:
        model: a Hugging Face causal language model. Called by anyone else it is as it was.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._first = 0

    @contextmanager
    def spared(self, first: int) -> Iterator[None]:
        """Within it the model gives the same states from position `first` on, wrong ones before."""
        self._first = first if self._can_be else 0
        try:
            yield
        finally:
            self._first = 0

    @cached_property
    @torch.no_grad()
    def _can_be(self) -> bool:
        """Whether there is such a network, which takes each position for itself.

        That shows when it is tried. It is where every architecture of the Llama kind has it.
        """
        layers = repeated_layers(self._model)
        network = getattr(layers[-1], "mlp", None) if layers else None
        if not isinstance(network, torch.nn.Module):
            return False
        before = network.register_forward_pre_hook(self._cut)
        after = network.register_forward_hook(self._fill)
        ids = torch.arange(16, device=self._model.device).view(2, 8)
        embedded = self._model.get_input_embeddings()(ids)
        try:
            whole, spared = (self._states(embedded, first) for first in (0, 3))
            # Rounding may differ with the number of lines, in bfloat16 by a hundredth.
            near = (whole - spared)[:, 3:].abs().max() <= 0.03 * whole.abs().max()
            if near and not torch.equal(whole[:, :3], spared[:, :3]):
                return True
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            pass
        before.remove()
        after.remove()
        return False

    def _states(self, embedded: Tensor, first: int) -> Tensor:
        self._first = first
        try:
            found: Tensor = self._model.base_model(
                inputs_embeds=embedded, use_cache=False
            ).last_hidden_state
            return found.float()
        finally:
            self._first = 0

    def _cut(self, network: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0][:, self._first :].contiguous(), *given[1:]) if self._first else given

    def _fill(self, network: torch.nn.Module, given: object, found: Tensor) -> Tensor:
        if not self._first:
            return found
        return torch.nn.functional.pad(found, (0, 0, self._first, 0))
