"""Checkpointing: a step keeps what goes into each layer, and computes the rest again."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from dcm.causal_lm.again import noted
from dcm.causal_lm.regions import repeated_layers


def checkpoint_layers(model: Any) -> None:
    """Have a model's repeated layers keep no more of a pass than what they were given.

    Where a gradient is wanted; else they are as they were. Hugging Face's own switch works in
    training mode alone, which brings dropout with it.
    """
    for layer in repeated_layers(model):
        forward = layer.forward
        layer.forward = partial(_checkpointed, forward)


def _checkpointed(forward: Any, *args: Any, **options: Any) -> Any:
    given = (*args, *options.values())
    wanted = any(isinstance(each, torch.Tensor) and each.requires_grad for each in given)
    if not (wanted and torch.is_grad_enabled()):
        return forward(*args, **options)
    # What a pass runs within is no longer open when its gradient is asked for. Nothing is random.
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), noted()),
        **options,
    )
