"""What optimisers that start from noise share, and the defaults that they choose by K."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from dcm import Optimizer, RowKey, Space

_OPTIONAL_POSITIVE = attrs.validators.optional(attrs.validators.gt(0))


def start_scale(slots: int) -> float:
    """The default scale of the start for K slots, in units of the embeddings' scale."""
    return float(9.5 * slots ** (-1 / 3))


def temperature(slots: int) -> float:
    """The default cross-entropy temperature for K slots.

    One or two slots can hardly hold a text, so that no gradient may be spent on tokens that are
    the argmax already.
    """
    return min(1.0, slots / 4)


@attrs.frozen
class FromNoise(Optimizer):
    """Starts from normal noise. Subclasses say how a gradient moves a content.

    Attributes:
        lr: learning rate; None chooses one by K.
        start_scale: standard deviation of the normal start, in units of the standard deviation
            of the model's input embeddings; None chooses one by K.
        gradient_temperature: cross-entropy temperature of the gradients; None chooses one by K.
    """

    lr: float | None = attrs.field(default=None, validator=_OPTIONAL_POSITIVE)
    start_scale: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.ge(0)),
        kw_only=True,
    )
    gradient_temperature: float | None = attrs.field(
        default=None, validator=_OPTIONAL_POSITIVE, kw_only=True
    )

    def temperature(self, slots: int) -> float:
        return (
            temperature(slots) if self.gradient_temperature is None else self.gradient_temperature
        )

    def start(self, keys: Sequence[RowKey], space: Space) -> Tensor:
        shape = (space.slots, space.width)
        noise = torch.stack([torch.randn(shape, generator=key.random()) for key in keys])
        scale = start_scale(space.slots) if self.start_scale is None else self.start_scale
        return (noise * (space.scale * scale)).to(space.device)
