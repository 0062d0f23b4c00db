"""Measured: what each target of an example costs before anything is optimised."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from dcm.generator import Generator
from dcm.modes import Modes
from dcm.solver.item import Item, Measured


class MeasuresBaselines(Protocol):
    """Measures the baseline losses of items, as `dcm.Baselines` does."""

    def measure(
        self, generator: Generator, items: Sequence[Item], slots: int, modes: Modes, seed: int
    ) -> list[Measured]:
        """The baselines of each item's targets. An item's depend on that item and seed alone."""


def by_mode(item: Item, measured: Measured) -> dict[str, dict[str, float]]:
    """kind -> mode -> nats, the mean over the mode's checked targets and their draws."""
    found: dict[str, dict[str, float]] = {}
    for kind, targets in measured.items():
        losses: dict[str, list[float]] = {}
        for target, draws in zip(item.targets, targets, strict=True):
            if target.checked:
                losses.setdefault(target.mode, []).append(fmean(draws))
        found[kind] = {mode: fmean(values) for mode, values in losses.items()}
    return found
