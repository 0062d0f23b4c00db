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


def start_scale(slots: int, *, alone: bool = False) -> float:
    """The default scale of the noise for K slots, in units of the embeddings' scale.

    Beside the texts it is less than alone, by a factor that grows with K.
    """
    return float(9.5 * slots ** (-1 / 3) if alone else 9 * slots**-0.7)


def text_scale(slots: int) -> float:
    """The default scale of the texts for K slots, in units of their own embeddings.

    A single slot starts from noise: the sum of all tokens makes it no faster.
    """
    return float(2 - 2 / slots)


def temperature(slots: int) -> float:
    """The default cross-entropy temperature for K slots.

    Few slots can hardly hold a text, so that no gradient may be spent on tokens that are the
    argmax already.
    """
    return float(min(1.0, slots**0.5 / 4))


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

    def temperature(self, slots: int) -> float:
        return (
            temperature(slots) if self.gradient_temperature is None else self.gradient_temperature
        )

    @abstractmethod
    def learning_rate(self, slots: int) -> float:
        """The default learning rate for K slots."""

    def chosen(self, slots: int) -> Mapping[str, float]:
        texts = text_scale(slots) if self.text_scale is None else self.text_scale
        return {
            "lr": self.learning_rate(slots),
            "start_scale": start_scale(slots, alone=texts == 0),
            "text_scale": texts,
            "gradient_temperature": temperature(slots),
        }

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        shape = (space.slots, space.width)
        noise = torch.stack([torch.randn(shape, generator=key.random()) for key in keys])
        factors, scales = [], []
        for key in keys:
            factor = self.text_scale
            if factor is None:
                # Where texts were of no use, another attempt begins elsewhere.
                factor = text_scale(space.slots) if key.attempt == 0 else 0.0
            scale = self.start_scale
            scales.append(start_scale(space.slots, alone=factor == 0) if scale is None else scale)
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
