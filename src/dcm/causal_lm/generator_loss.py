"""The loss of one target, as plainly as it can be computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dcm.causal_lm.calling import known


def generator_loss(model: Any, target_tokens: Tensor, prompt_embeds: Tensor) -> Tensor:
    """The loss of one target behind continuous vectors.

    The reference for everything faster: one sequence [prompt, target], no batch, no padding.

    Args:
        model: a Hugging Face causal language model.
        target_tokens: [T] int64, closed by the end-of-text token.
        prompt_embeds: [K+1, D], the mode vector and the content.

    Returns:
        [] float32, nats: the mean over the T tokens of -log p(token | prompt, tokens before),
        differentiable in `prompt_embeds`.
    """
    target_embeds = model.get_input_embeddings()(target_tokens).detach()
    sequence = torch.cat([prompt_embeds.to(target_embeds.dtype), target_embeds])[None, :-1]
    options = known(model, use_cache=False)
    logits = model(inputs_embeds=sequence, **options).logits[0, len(prompt_embeds) - 1 :]
    return torch.nn.functional.cross_entropy(logits.float(), target_tokens)
