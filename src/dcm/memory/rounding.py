"""Optimising under rounding: the model sees a content as it will be kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from dcm.generator import Generator
from dcm.memory.contents import Kept, pack, unpack
from dcm.optimizer import Optimizer, RowKey, Space, State
from dcm.strands import Layout, Strands, StrandScores


class _Round(torch.autograd.Function):
    """Rounds a content; the gradient goes through as if nothing had been rounded.

    The straight-through estimator (Bengio et al. 2013, arXiv 1308.3432).
    """

    @staticmethod
    def forward(ctx: Any, content: Tensor, kept: Kept) -> Tensor:
        return unpack(pack(content, kept))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


@attrs.frozen
class Rounded(Generator):
    """A generator that scores and decodes behind contents as they will be kept.

    Attributes:
        inner: the generator.
        kept: what contents are kept in.
    """

    inner: Generator
    kept: Kept

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def vocabulary(self) -> int:
        return self.inner.vocabulary

    @property
    def context_length(self) -> int:
        return self.inner.context_length

    @property
    def embedding_scale(self) -> float:
        return self.inner.embedding_scale

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def logit_noise(self) -> float:
        return self.inner.logit_noise

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def trials(self) -> Mapping[str, object]:
        return self.inner.trials

    @property
    def opening(self) -> tuple[int, ...]:
        return self.inner.opening

    @property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.inner.frame

    def encode(self, text: str) -> tuple[int, ...]:
        return self.inner.encode(text)

    def text(self, ids: Sequence[int]) -> str:
        return self.inner.text(ids)

    def embed(self, ids: Tensor) -> Tensor:
        return self.inner.embed(ids)

    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        rounded: Tensor = _Round.apply(content, self.kept)  # type: ignore[no-untyped-call]
        return self.inner.score(rounded, strands)

    def decode(
        self,
        content: Tensor,
        lead: Tensor,
        max_new_tokens: int | Sequence[int],
        layout: Layout = "prefix",
    ) -> list[str]:
        return self.inner.decode(unpack(pack(content, self.kept)), lead, max_new_tokens, layout)


@attrs.frozen
class FromKept(Optimizer):
    """An optimiser whose first attempt at an example starts from a content that there is.

    Attributes:
        inner: the optimiser, which starts all further attempts.
        content: example id -> [K, D] float32.
    """

    inner: Optimizer
    content: Callable[[str], Tensor]

    @property
    def attempts(self) -> int:
        return self.inner.attempts + 1

    def temperature(self, slots: int) -> float:
        return self.inner.temperature(slots)

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        own = [attrs.evolve(key, attempt=max(0, key.attempt - 1)) for key in keys]
        fresh = self.inner.start(own, space, texts)
        for row, key in enumerate(keys):
            if key.attempt == 0:
                fresh[row] = space.send(self.content(key.example_id))
        return fresh

    def init(self, content: Tensor, space: Space) -> State:
        return self.inner.init(content, space)

    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        return self.inner.step(content, gradient, state)
