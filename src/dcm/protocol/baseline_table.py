"""BaselineTable: what every example costs before anything is optimised, draw by draw."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import attrs

from dcm.example import Example
from dcm.generator import Generator
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.protocol.statistics import Estimate, bootstrap
from dcm.running.baselines import Baselines
from dcm.running.summary import finite
from dcm.solver import Item

_PART = 64  # examples measured at once

Draws = Mapping[str, Mapping[str, Sequence[float]]]
"""kind -> mode -> one loss a draw, in nats, the mean over the mode's targets."""


@attrs.frozen
class BaselineTable:
    """The baseline losses of examples.

    Attributes:
        losses: example id -> kind -> mode -> one loss a draw, in nats. `full_context` has one.
        left_out: ids of the examples that do not fit the model, with the reason.
    """

    losses: Mapping[str, Draws]
    left_out: Mapping[str, str]

    @classmethod
    def measure(
        cls,
        generator: Generator,
        examples: Iterable[Example],
        objective: Objective,
        modes: Modes,
        *,
        slots: int,
        draws: int,
        seed: int,
    ) -> BaselineTable:
        """Measure the baselines of every example, as a run with the same seed does."""
        items, left_out = [], {}
        for example in examples:
            item = Item.of(example, objective, generator)
            reason = item.reason_not_to_fit(slots, generator.context_length)
            if reason:
                left_out[example.id] = reason
            else:
                items.append(item)
        losses: dict[str, Draws] = {}
        for start in range(0, len(items), _PART):
            part = items[start : start + _PART]
            measured = Baselines(draws).measure(generator, part, slots, modes, seed)
            for item, kinds in zip(part, measured, strict=True):
                losses[item.example.id] = {
                    kind: _by_mode(item, targets) for kind, targets in kinds.items()
                }
        return cls(losses, left_out)

    def mean(self, id: str, kind: str, mode: str) -> float:
        """Mean over the draws, in nats."""
        return fmean(self.losses[id][kind][mode])

    def spread(self, id: str, kind: str, mode: str) -> float:
        """Standard deviation over the draws, in nats; NaN of a single draw."""
        values = self.losses[id][kind][mode]
        return stdev(values) if len(values) > 1 else math.nan

    def kinds_and_modes(self) -> list[tuple[str, str]]:
        """Every (kind, mode) there is."""
        pairs = [
            (kind, mode) for each in self.losses.values() for kind in each for mode in each[kind]
        ]
        return list(dict.fromkeys(pairs))

    def overall(self, kind: str, mode: str) -> Estimate:
        """Mean over the examples that have it, with its interval."""
        means = [self.mean(id, kind, mode) for id in self._having(kind, mode)]
        return bootstrap([value for value in means if math.isfinite(value)])

    def typical_spread(self, kind: str, mode: str) -> float | None:
        """Mean over the examples of the standard deviation over draws; None of single draws."""
        spreads = [self.spread(id, kind, mode) for id in self._having(kind, mode)]
        known = [value for value in spreads if math.isfinite(value)]
        return fmean(known) if known else None

    def write(self, path: Path) -> None:
        """One JSON line an example: id, and kind -> mode -> {mean, spread, draws}."""
        with path.open("w", encoding="utf-8") as file:
            for id, kinds in self.losses.items():
                line = {
                    kind: {
                        mode: {
                            "mean": finite(self.mean(id, kind, mode)),
                            "spread": finite(self.spread(id, kind, mode)),
                            "draws": [finite(value) for value in values],
                        }
                        for mode, values in modes.items()
                    }
                    for kind, modes in kinds.items()
                }
                file.write(json.dumps({"id": id, **line}, ensure_ascii=False) + "\n")

    def _having(self, kind: str, mode: str) -> list[str]:
        return [id for id, kinds in self.losses.items() if mode in kinds.get(kind, {})]


def _by_mode(item: Item, targets: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """mode -> one loss a draw, the mean over the mode's targets."""
    found: dict[str, list[Sequence[float]]] = {}
    for target, draws in zip(item.targets, targets, strict=True):
        found.setdefault(target.mode, []).append(draws)
    return {
        mode: [fmean(each) for each in zip(*draws, strict=True)] for mode, draws in found.items()
    }
