"""Optimizer: where a row's content starts and how a gradient moves it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import attrs

from dcm.sending import send

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen
class RowKey:
    """Names one attempt at one example; all randomness of the row comes from it."""

    seed: int
    example_id: str
    attempt: int

    def random(self, purpose: str = "start") -> torch.Generator:
        """A CPU random generator that depends on this key and `purpose` alone."""
        import torch

        return torch.Generator().manual_seed(self.number(purpose))

    def number(self, purpose: str) -> int:
        """A whole number below 2^63 that depends on this key and `purpose` alone."""
        text = f"{self.seed}\0{self.example_id}\0{self.attempt}\0{purpose}"
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1


@attrs.frozen
class Space:
    """The space a content lives in.

    Attributes:
        slots: K.
        width: D.
        scale: standard deviation of the model's input embeddings.
        device: where contents live; they are float32.
    """

    slots: int
    width: int
    scale: float
    device: torch.device

    def send(self, host: Tensor) -> Tensor:
        """A host tensor on the device, which nobody waits for: it may be computing a step."""
        return send(host, self.device)


State = Any
"""What an optimiser or criterion remembers: a tensor, or a NamedTuple, tuple, list or dict of
states. Every tensor has the row as its first axis, so that rows can be taken out and put in."""


class Optimizer(ABC):
    """Moves R contents at once, each by its own gradient alone. R rows, K slots, D width."""

    @property
    def attempts(self) -> int:
        """How many starts an example gets before it is given up."""
        return 1

    def chosen(self, slots: int) -> Mapping[str, float]:
        """field -> the number that it comes to with K = `slots` where it is None, and so chosen by
        the optimiser; for what it wraps, that says it itself."""
        return {}

    def temperature(self, slots: int) -> float:
        """The cross-entropy temperature at which it wants its gradients with K = `slots`.

        Below 1 a gradient leaves out tokens that are the argmax already, see
        `dcm.causal_lm.token_scores`.
        """
        return 1.0

    @abstractmethod
    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        """Start contents [R, K, D] float32 on `space.device`.

        Row r depends on `keys[r]`, whence all randomness comes, and on `texts[r]` alone.

        Args:
            keys: names the R rows.
            space: what a content is.
            texts: R tensors [T, D] float32 on `space.device`, the input embeddings of the tokens
                of each row's targets, one target after the other, without closing tokens.
        """

    @abstractmethod
    def init(self, content: Tensor, space: Space) -> State:
        """The state of R fresh rows at `content` [R, K, D]; every tensor has R as first axis."""

    @abstractmethod
    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: new content [R, K, D] and state, from content and gradient [R, K, D].

        Row r of the result depends on row r of the arguments alone. The arguments are not
        modified.
        """
