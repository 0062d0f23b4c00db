"""The head: what makes logits from the last hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Head = tuple[Tensor, Tensor | None]
"""Weight [V, D] and bias [V] of a linear layer."""


@torch.no_grad()
def linear_head(model: Any) -> Head | None:
    """The linear layer that makes a model's logits.

    None where the model does more than that (scales or caps its logits, say), which shows when it
    is tried.
    """
    head, base = model.get_output_embeddings(), model.base_model
    if type(head) is not torch.nn.Linear or base is model:
        return None
    embedded = model.get_input_embeddings()(torch.arange(8, device=model.device))
    try:
        states = base(inputs_embeds=embedded[None], use_cache=False).last_hidden_state
        logits = model(inputs_embeds=embedded[None], use_cache=False).logits
        if not torch.equal(head(states).float(), logits.float()):
            return None
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    return head.weight, head.bias
