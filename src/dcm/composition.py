"""Criteria made of criteria: `a | b` and `a & b`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from dcm.criterion import ConvergenceCriterion, Observation
from dcm.optimizer import State

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _criteria(criteria: Iterable[ConvergenceCriterion]) -> tuple[ConvergenceCriterion, ...]:
    return tuple(criteria)


def _some(instance: object, attribute: object, value: tuple[ConvergenceCriterion, ...]) -> None:
    if not value or not all(isinstance(each, ConvergenceCriterion) for each in value):
        raise ValueError(f"criteria must be one criterion or more, not {value!r}")


@attrs.frozen
class AnyOf(ConvergenceCriterion):
    """A row is done as soon as one of the criteria says so.

    Attributes:
        criteria: one or more.
    """

    criteria: tuple[ConvergenceCriterion, ...] = attrs.field(converter=_criteria, validator=_some)

    @property
    def needs_baselines(self) -> bool:
        return any(each.needs_baselines for each in self.criteria)

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return tuple(each.init(rows, device) for each in self.criteria)

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        states, verdicts = _update(self.criteria, state, seen)
        done = verdicts[0]
        for verdict in verdicts[1:]:
            done = done | verdict
        return states, done


@attrs.frozen
class AllOf(ConvergenceCriterion):
    """A row is done at a step where all the criteria say so.

    Attributes:
        criteria: one or more.
    """

    criteria: tuple[ConvergenceCriterion, ...] = attrs.field(converter=_criteria, validator=_some)

    @property
    def needs_baselines(self) -> bool:
        return any(each.needs_baselines for each in self.criteria)

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return tuple(each.init(rows, device) for each in self.criteria)

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        states, verdicts = _update(self.criteria, state, seen)
        done = verdicts[0]
        for verdict in verdicts[1:]:
            done = done & verdict
        return states, done


def _update(
    criteria: tuple[ConvergenceCriterion, ...], state: State, seen: Observation
) -> tuple[State, list[Tensor]]:
    updated = [each.update(own, seen) for each, own in zip(criteria, state, strict=True)]
    return tuple(new for new, _ in updated), [done for _, done in updated]
