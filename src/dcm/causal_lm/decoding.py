"""Decoding: greedy generation behind many prompts at once, each as long as it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from dcm.causal_lm.calling import known, named

if TYPE_CHECKING:
    from dcm.strands import Layout

# The share of the texts that may be left when those that have ended leave.
_LEAVE = 0.75


@attrs.frozen
class Way:
    """How a model reads on, token by token. Which ways it has is tried, see `causal_lm.trials`.

    Attributes:
        cached: what was read is kept in a cache; else all is read again for each token.
        chooses: texts can be taken out of the cache, and doubled in it.
        positions: the model is told where in its text each token stands; else it counts itself.
    """

    cached: bool = True
    chooses: bool = True
    positions: bool = False

    def __str__(self) -> str:
        if not self.cached:
            return "without cache"
        kept = "" if self.chooses else ", all texts to the end"
        return f"cached{kept}{', positions given' if self.positions else ''}"


# From the fastest on; the last one holds for every model.
WAYS = (
    Way(),
    Way(positions=True),
    Way(chooses=False),
    Way(chooses=False, positions=True),
    Way(cached=False),
)


class Reader:
    """Reads n texts on, each from where it stands.

    Args:
        model: a Hugging Face causal language model.
        way: how.
    """

    def __init__(self, model: Any, way: Way) -> None:
        self._model = model
        self._way = way
        self._past: Tensor | None = None
        self._cache: dict[str, Any] = {}
        self._length = 0

    def read(self, fed: Tensor) -> Tensor:
        """[n, V] logits of what follows `fed` [n, T, D]."""
        options: dict[str, Any] = {"use_cache": self._way.cached, "logits_to_keep": 1}
        if not self._way.cached:
            fed = fed if self._past is None else torch.cat([self._past, fed], 1)
            self._past, fed = fed, fed.clone()  # some models scale in place what they are fed
        elif self._way.positions:
            places = torch.arange(self._length, self._length + fed.shape[1], device=fed.device)
            options["position_ids"] = places.expand(len(fed), -1)
        out = self._model(inputs_embeds=fed, **known(self._model, **options), **self._cache)
        self._length += fed.shape[1]
        if self._way.cached:
            self._cache = _cache_of(self._model, out)
        logits: Tensor = out.logits
        return logits[:, -1]

    def keep(self, index: Tensor) -> None:
        """Go on with the texts of these numbers alone, one of them perhaps several times."""
        if self._past is not None:
            self._past = self._past[index]
        for cache in self._cache.values():
            cache.reorder_cache(index)


def decode_greedily(
    model: Any,
    end: int,
    content: Tensor,
    lead: Tensor,
    limits: Sequence[int],
    layout: Layout,
    way: Way,
) -> list[list[int]]:
    """The tokens that a model chooses behind N prompts.

    Args:
        model: a Hugging Face causal language model.
        end: the token that ends a text.
        content: [N, K, D] float32.
        lead: [N, D] float32, the mode vectors.
        limits: most tokens for each prompt.
        layout: where the mode vector stands.
        way: how it reads on.

    Returns:
        N texts, each up to and with its end token, or as long as its limit.
    """
    embedding = model.get_input_embeddings()
    dtype = embedding.weight.dtype
    reader = Reader(model, way)
    fed = _behind_shared(reader, way, content.to(dtype), lead.to(dtype), layout)
    texts: list[list[int]] = [[] for _ in limits]
    here = list(range(len(limits)))
    while True:
        chosen = reader.read(fed).argmax(-1)
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
        if len(goes_on) <= _LEAVE * len(here) and way.chooses:
            index = torch.tensor(goes_on, device=chosen.device)
            reader.keep(index)
            chosen, here = chosen[index], [here[place] for place in goes_on]
        fed = embedding(chosen.to(embedding.weight.device))[:, None]


def prompts(content: Tensor, lead: Tensor, layout: Layout) -> Tensor:
    """[N, K+1, D]: contents [N, K, D] with their mode vectors [N, D] before or behind them."""
    parts = (lead[:, None], content) if layout == "prefix" else (content, lead[:, None])
    return torch.cat(parts, dim=1)


def _behind_shared(
    reader: Reader, way: Way, content: Tensor, lead: Tensor, layout: Layout
) -> Tensor:
    """What is fed first of each prompt; what stands before it has been read.

    With the layout `suffix` a content that stands in several prompts is computed once.
    """
    if layout == "suffix" and way.chooses and way.cached:
        contents, place = torch.unique(content, dim=0, return_inverse=True)
        if len(contents) < len(content):
            reader.read(contents)
            reader.keep(place)
            return lead[:, None]
    return prompts(content, lead, layout)


def _cache_of(model: Any, out: Any) -> dict[str, Any]:
    """What a model has given back of its own to be called with again, whatever it calls it.

    Raises:
        ValueError: there is nothing of the kind.
    """
    cache = {
        name: value
        for name, value in out.items()
        if value is not None and name not in ("loss", "logits") and named(model, name)
    }
    if not cache:
        raise ValueError(f"{type(model).__name__} gives no cache back")
    return cache
