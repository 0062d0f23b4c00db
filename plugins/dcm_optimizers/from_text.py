"""What optimisers that start from noise and the row's own texts share, and their defaults by K."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from dcm import Optimizer, RowKey, Space

_OPTIONAL_POSITIVE = attrs.validators.optional(attrs.validators.gt(0))
_OPTIONAL_NOT_NEGATIVE = attrs.validators.optional(attrs.validators.ge(0))


@attrs.frozen
class Defaults:
    """What is chosen for a number of slots where nothing is given.

    Attributes:
        lr: learning rate, in units of the embeddings' scale.
        noise: standard deviation of the noise beside the texts, likewise.
        alone: of the noise where it is alone.
        texts: scale of the texts, in units of their own embeddings.
        temperature: cross-entropy temperature of the gradients. Few slots can hardly hold a text,
            so that no gradient may be spent on tokens that are the argmax already.
    """

    lr: float
    noise: float
    alone: float
    texts: float
    temperature: float

    def start_scale(self, texts: float) -> float:
        """That of the noise where the texts have this scale."""
        return self.noise if texts else self.alone


@attrs.frozen
class FromText(Optimizer):
    """Starts from normal noise and the row's own texts. Subclasses say how a gradient moves it.

    The tokens of the texts are dealt out to the slots in their order, several to one. Where slots
    are left over the texts come again and again, so that they end at the last slot. Source of the
    idea: prompts that begin as the embeddings of words, in prompt tuning (Lester et al. 2021, arXiv
    2104.08691).

    Attributes:
        lr: learning rate, in units of the standard deviation of the model's input embeddings; None
            chooses one by K.
        start_scale: standard deviation of the noise, in units of the standard deviation of the
            model's input embeddings; None chooses one by K.
        text_scale: factor of the embeddings of the texts' tokens; 0 starts from noise alone, None
            chooses one by K.
        gradient_temperature: cross-entropy temperature of the gradients; None chooses one by K.
    """

    lr: float | None = attrs.field(default=None, validator=_OPTIONAL_POSITIVE)
    start_scale: float | None = attrs.field(
        default=None, validator=_OPTIONAL_NOT_NEGATIVE, kw_only=True
    )
    text_scale: float | None = attrs.field(
        default=None, validator=_OPTIONAL_NOT_NEGATIVE, kw_only=True
    )
    gradient_temperature: float | None = attrs.field(
        default=None, validator=_OPTIONAL_POSITIVE, kw_only=True
    )

    @abstractmethod
    def defaults(self, slots: int) -> Defaults:
        """What it chooses for K slots."""

    def temperature(self, slots: int) -> float:
        given = self.gradient_temperature
        return self.defaults(slots).temperature if given is None else given

    def chosen(self, slots: int) -> Mapping[str, float]:
        own = self.defaults(slots)
        texts = own.texts if self.text_scale is None else self.text_scale
        return {
            "lr": own.lr,
            "start_scale": own.start_scale(texts),
            "text_scale": texts,
            "gradient_temperature": own.temperature,
        }

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        shape = (space.slots, space.width)
        noise = torch.stack([torch.randn(shape, generator=key.random()) for key in keys])
        own = self.defaults(space.slots)
        factors, scales = [], []
        for key in keys:
            factor = self.text_scale
            if factor is None:
                # Where texts were of no use, another attempt begins elsewhere.
                factor = own.texts if key.attempt == 0 else 0.0
            scale = self.start_scale
            scales.append(own.start_scale(factor) if scale is None else scale)
            factors.append(factor)
        start = space.send(noise * (space.scale * torch.tensor(scales))[:, None, None])
        if not any(factors):
            return start
        return start + dealt(texts, space) * space.send(torch.tensor(factors))[:, None, None]


def dealt(texts: Sequence[Tensor], space: Space) -> Tensor:
    """[R, K, D]: of R texts of tokens [T, D] the sum of the n that a slot gets, over root n.

    So a slot is about as long as a token, however many it gets.
    """
    slots = space.slots
    counts = [_counts(len(text), slots) for text in texts]
    tokens = torch.cat(
        # Again and again, until every slot has one. That they end at the last one, and do not begin
        # at the first, takes 3 to 6 % fewer steps.
        [
            text.repeat(-(-slots // len(text)), 1)[-slots:] if 0 < len(text) < slots else text
            for text in texts
        ]
    )
    lengths = space.send(torch.tensor(counts).flatten())
    # Line by line, so that a row does not depend on how many there are. "Unsafe", as their sum
    # would have to be read back, for which one would wait.
    sums = torch.segment_reduce(tokens, "sum", lengths=lengths, axis=0, initial=0, unsafe=True)
    evened: Tensor = sums / lengths.clamp(min=1).sqrt()[:, None]
    return evened.view(len(texts), slots, -1)


def _counts(tokens: int, slots: int) -> list[int]:
    """How many of a text's tokens each slot gets."""
    if not tokens:
        return [0] * slots
    each, more = divmod(max(tokens, slots), slots)
    return [each + (slot < more) for slot in range(slots)]
