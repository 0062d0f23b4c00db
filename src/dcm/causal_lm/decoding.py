"""Decoding: greedy generation behind many prompts at once, each as long as it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dcm.strands import Layout

# The share of the texts that may be left when those that have ended leave.
_LEAVE = 0.75


def decode_greedily(
    model: Any,
    end: int,
    content: Tensor,
    lead: Tensor,
    limits: Sequence[int],
    layout: Layout,
) -> list[list[int]]:
    """The tokens that a model chooses behind N prompts, with a KV cache.

    Args:
        model: a Hugging Face causal language model.
        end: the token that ends a text.
        content: [N, K, D] float32.
        lead: [N, D] float32, the mode vectors.
        limits: most tokens for each prompt.
        layout: where the mode vector stands.

    Returns:
        N texts, each up to and with its end token, or as long as its limit.
    """
    embedding = model.get_input_embeddings()
    dtype = embedding.weight.dtype
    fed, cache = _behind_shared(model, content.to(dtype), lead.to(dtype), layout)
    texts: list[list[int]] = [[] for _ in limits]
    here = list(range(len(limits)))
    while True:
        out = model(inputs_embeds=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
        chosen, cache = out.logits[:, -1].argmax(-1), out.past_key_values
        goes_on = []
        for place, (text, token) in enumerate(zip(here, chosen.tolist(), strict=True)):
            own = texts[text]
            if len(own) == limits[text] or end in own[-1:]:
                continue  # has ended, and is still here
            own.append(token)
            if token != end and len(own) < limits[text]:
                goes_on.append(place)
        if not goes_on:
            return texts
        # Those that have ended leave, so many at once that it is worth the copy.
        if len(goes_on) <= _LEAVE * len(here) and _can_choose(cache):
            index = torch.tensor(goes_on, device=chosen.device)
            cache.reorder_cache(index)
            chosen, here = chosen[index], [here[place] for place in goes_on]
        fed = embedding(chosen)[:, None]


def prompts(content: Tensor, lead: Tensor, layout: Layout) -> Tensor:
    """[N, K+1, D]: contents [N, K, D] with their mode vectors [N, D] before or behind them."""
    parts = (lead[:, None], content) if layout == "prefix" else (content, lead[:, None])
    return torch.cat(parts, dim=1)


def _behind_shared(model: Any, content: Tensor, lead: Tensor, layout: Layout) -> tuple[Tensor, Any]:
    """What is fed first of each prompt, and the cache of what stands before it.

    With the layout `suffix` a content that stands in several prompts is computed once.
    """
    if layout == "suffix":
        contents, place = torch.unique(content, dim=0, return_inverse=True)
        if len(contents) < len(content):
            out = model(inputs_embeds=contents, use_cache=True, logits_to_keep=1)
            if _can_choose(out.past_key_values):
                out.past_key_values.reorder_cache(place)
                return lead[:, None], out.past_key_values
    return prompts(content, lead, layout), None


def _can_choose(cache: Any) -> bool:
    """Whether texts can be taken out of a cache, and doubled in it."""
    return hasattr(cache, "reorder_cache")
