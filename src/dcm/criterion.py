"""ConvergenceCriterion: when a row is done, and criteria made of criteria."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from dcm.optimizer import State

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen(eq=False)
class Observation:
    """What is measured of R rows and their J strands at one step.

    Attributes:
        loss: [R] float32, the objective's loss.
        row: [J] int64, the row of each strand.
        nll: [J] float32, nats.
        strand_exact: [J] bool.
        strand_margin: [J] float32, logits.
        step: [R] int64, how many times the row has been measured, this time included.
        random: [J] float32, the strand's baseline loss under random contents; NaN if unmeasured.
        full_context: [J] float32, the strand's baseline loss after plain text; NaN if unmeasured.
        logit_noise: how far a logit may differ between scoring and decoding.
        penalty: [R] float32, the objective's penalty, which is a part of `loss`; None where it has
            none.
        checked: [J] bool, the strands that decide, see `Target.checked`; None for all of them.
    """

    loss: Tensor
    row: Tensor
    nll: Tensor
    strand_exact: Tensor
    strand_margin: Tensor
    step: Tensor
    random: Tensor
    full_context: Tensor
    logit_noise: float
    penalty: Tensor | None = None
    checked: Tensor | None = None

    def every(self, flag: Tensor) -> Tensor:
        """[R] bool: whether `flag` [J] holds for every checked strand of the row."""
        return self.least(flag.float()) > 0.5

    def least(self, value: Tensor) -> Tensor:
        """[R] float32: the smallest `value` [J] over the row's checked strands."""
        start = value.new_full(self.loss.shape, float("inf"))
        if self.checked is not None:
            value = value.where(self.checked, float("inf"))
        return start.scatter_reduce(0, self.row, value, "amin")

    @cached_property
    def exact(self) -> Tensor:
        """[R] bool: every token of every checked target is the argmax."""
        return self.every(self.strand_exact)

    @cached_property
    def margin(self) -> Tensor:
        """[R] float32: smallest margin over the row's checked targets, in logits."""
        return self.least(self.strand_margin)


class ConvergenceCriterion(ABC):
    """Says which rows are done. It knows no step budget: that is the solver's."""

    @property
    def needs_baselines(self) -> bool:
        """Whether `update` reads `Observation.random` or `Observation.full_context`."""
        return False

    def chosen(self, logit_noise: float) -> Mapping[str, float]:
        """field -> the number that it comes to, for a generator of this `logit_noise`, where it is
        None, and so chosen by the criterion; for what it wraps, that says it itself."""
        return {}

    @abstractmethod
    def init(self, rows: int, device: torch.device | None = None) -> State:
        """The state of `rows` fresh rows; every tensor has the row as first axis."""

    @abstractmethod
    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        """New state, and [R] bool on the observation's device: which rows are done.

        Row r of both depends on row r of the arguments alone.
        """

    def __or__(self, other: ConvergenceCriterion) -> ConvergenceCriterion:
        return AnyOf((self, other))

    def __and__(self, other: ConvergenceCriterion) -> ConvergenceCriterion:
        return AllOf((self, other))


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
