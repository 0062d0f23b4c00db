"""Dataset-level thresholds: each number graded below, minimum, good or excellent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import attrs

from dcm.protocol.results import Result, baseline_of, loss_of, modes_of
from dcm.protocol.statistics import Estimate, bootstrap


class Grade(StrEnum):
    """How good a number of a whole data set is."""

    BELOW = "below"
    MINIMUM = "minimum"
    GOOD = "good"
    EXCELLENT = "excellent"


@attrs.frozen
class Threshold:
    """Three steps that a number has to pass, strictly.

    Attributes:
        name: of which number.
        steps: for minimum, good and excellent.
        above: whether larger is better.
    """

    name: str
    steps: tuple[float, float, float]
    above: bool

    def grade(self, value: float | None) -> Grade:
        """The best grade whose step is passed; below for a number that there is not."""
        if value is None:
            return Grade.BELOW
        passed = sum(value > step if self.above else value < step for step in self.steps)
        return tuple(Grade)[passed]


CONVERGENCE = Threshold("convergence rate", (0.4, 0.7, 0.9), above=True)
LOSS_RATIO = Threshold("mean loss / random", (0.4, 0.25, 0.15), above=False)
FULL_CONTEXT = Threshold("worst mode / full context", (2.0, 1.5, 1.2), above=False)


@attrs.frozen
class Graded:
    """A number of the data set with its grade."""

    threshold: Threshold
    measured: Estimate

    @property
    def grade(self) -> Grade:
        """The grade of the measured number."""
        return self.threshold.grade(self.measured.value)

    def as_json(self) -> dict[str, Any]:
        """Name, number, steps and grade."""
        return {
            "name": self.threshold.name,
            "measured": self.measured.as_json(),
            "steps": list(self.threshold.steps),
            "better": "above" if self.threshold.above else "below",
            "grade": self.grade.value,
        }


def loss_ratio(results: Sequence[Result]) -> Estimate:
    """Mean over examples of the mean over modes of final loss / loss under random contents."""
    ratios = []
    for result in results:
        each = _ratios(result, "random", list(result["losses"]))
        if each:
            ratios.append(sum(each) / len(each))
    return bootstrap(ratios)


def full_context_ratios(results: Sequence[Result]) -> dict[str, Estimate]:
    """mode -> mean over examples of final loss / loss after plain text."""
    return {
        mode: bootstrap([r for result in results for r in _ratios(result, "full_context", [mode])])
        for mode in modes_of(results)
    }


def grade_all(convergence: Estimate, results: Sequence[Result]) -> list[Graded]:
    """The three numbers of a data set. Both modes must be within a multiple of full context, so
    the worse one is graded."""
    by_mode = [each for each in full_context_ratios(results).values() if each.value is not None]
    worst = max(by_mode, key=lambda each: each.value or 0.0, default=Estimate(None, None, None, 0))
    return [
        Graded(CONVERGENCE, convergence),
        Graded(LOSS_RATIO, loss_ratio(results)),
        Graded(FULL_CONTEXT, worst),
    ]


def _ratios(result: Result, kind: str, modes: Sequence[str]) -> list[float]:
    """final / baseline of the modes of which both were measured."""
    found = []
    for mode in modes:
        loss, baseline = loss_of(result, mode), baseline_of(result, kind, mode)
        if math.isfinite(loss) and math.isfinite(baseline) and baseline > 0:
            found.append(loss / baseline)
    return found
