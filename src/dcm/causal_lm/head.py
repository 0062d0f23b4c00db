"""The head: what makes logits from the last hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dcm.causal_lm.calling import known
from dcm.causal_lm.products import plain_numbers

Head = tuple[Tensor, Tensor | None]
"""Weight [V, D] and bias [V] of a linear layer."""


@torch.no_grad()
def linear_head(model: Any) -> Head | None:
    """The linear layer that makes a model's logits.

    None where the model does more than that (scales or caps its logits, say), which shows when it
    is tried.
    """
    head, base = model.get_output_embeddings(), model.base_model
    if type(head) is not torch.nn.Linear or base is model or not plain_numbers(head.weight):
        return None
    # Spread over devices, the model brings its logits back itself.
    if head.weight.device != model.get_input_embeddings().weight.device:
        return None
    ids = torch.arange(8, device=model.device)[None]
    embedding = model.get_input_embeddings()
    try:
        # Fresh ones each: some models scale in place what they are fed.
        states = base(inputs_embeds=embedding(ids), **known(base, use_cache=False))
        logits = model(inputs_embeds=embedding(ids), **known(model, use_cache=False)).logits
        states = states.last_hidden_state
        if not torch.equal(head(states).float(), logits.float()):
            return None
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    return head.weight, head.bias
