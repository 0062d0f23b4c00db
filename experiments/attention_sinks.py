"""How much attention contents get: whether they take it away from the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from found import Found
from kit import Record, say
from torch import Tensor

from dcm import Generator, Modes

_MOST = 24  # contents whose attention is looked at


@torch.no_grad()
def sinks(model: Generator, found: Sequence[Found]) -> Record:
    """The share of attention that the question's tokens give to mode vector, content and text.

    Means over heads, tokens and contents, layer by layer; of contents, of noise as long as they
    are, and of as many tokens of other text in their place. Empty where the model tells none.
    """
    network: Any = model.lm.model  # type: ignore[attr-defined]
    chosen = found[:_MOST]
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    draw = torch.Generator().manual_seed(2)
    other = model.encode(" ".join(each.example.question for each in found))

    def noise(each: Found) -> Tensor:
        drawn = torch.randn(each.content.shape, generator=draw)
        return drawn * each.content.norm() / drawn.norm()

    def words(each: Found) -> Tensor:
        ids = torch.tensor(other[: len(each.content)], device=model.device)
        return model.embed(ids)

    arms: dict[str, Callable[[Found], Tensor]] = {
        "content": lambda each: each.content,
        "noise": noise,
        "words": words,
    }
    try:
        record = {
            name: [_layers(model, network, of(each), each) for each in chosen]
            for name, of in arms.items()
        }
    finally:
        network.set_attn_implementation(before)
    told: Record = {}
    for name, each in record.items():
        mean = torch.stack(each).mean(0)  # [layers, 3 + K]
        told[name] = {
            "mode": mean[:, 0].tolist(),
            "content": mean[:, 1].tolist(),
            "text": mean[:, 2].tolist(),
            "largest_slot": mean[:, 3:].amax(1).tolist(),
            "by_slot": mean[:, 3:].mean(0).tolist(),
        }
        mode, place, text = mean[:, :3].mean(0).tolist()
        say(f"attention, {name}: mode {mode:.2f}, its place {place:.2f}, text {text:.2f}")
    return told


def _layers(model: Generator, network: Any, content: Tensor, each: Found) -> Tensor:
    """[layers, 3 + K]: attention of the question's tokens to mode, content, text and each slot."""
    device = model.device
    ids = torch.tensor(model.encode(each.example.question)[:-1], device=device)
    slots = len(content)
    prompt = torch.cat([Modes(model).vectors(["question"]), content.to(device), model.embed(ids)])
    out = network(
        inputs_embeds=prompt[None].to(model.dtype), output_attentions=True, use_cache=False
    )
    rows = []
    for attention in out.attentions:
        given = attention[0].float().mean(0)[slots + 1 :].mean(0)  # [positions]
        own = given[1 : slots + 1]
        parts = torch.stack([given[0], own.sum(), given[slots + 1 :].sum()])
        rows.append(torch.cat([parts, own]))
    return torch.stack(rows).cpu()
