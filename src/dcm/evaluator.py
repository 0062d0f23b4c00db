"""Evaluator: what an outcome is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dcm.example import Example

if TYPE_CHECKING:
    from dcm.generator import Generator
    from dcm.outcome import Outcome

Evaluation = dict[str, float | int | bool | str]
"""One example's evaluation: flat, JSON values."""


class Evaluator(ABC):
    """Judges outcomes after their contents were saved."""

    @abstractmethod
    def evaluate(
        self, generator: Generator, examples: Sequence[Example], outcomes: Sequence[Outcome]
    ) -> list[Evaluation]:
        """One flat mapping for each example, in order, with the same keys for every example."""

    @abstractmethod
    def summarise(self, evaluations: Sequence[Mapping[str, object]]) -> dict[str, float]:
        """Aggregate numbers over all examples of a run."""
