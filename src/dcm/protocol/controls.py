"""Controls: the same run on pairs that mean nothing, or with a model that knows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import attrs

from dcm.errors import UsageError
from dcm.plugins import find, installed
from dcm.protocol.statistics import Estimate
from dcm.protocol.trials import Trial, mean_step_difference
from dcm.running.experiment import Experiment

SHUFFLED = "shuffled"


def controlled(experiment: Experiment, name: str) -> Experiment:
    """The experiment with a control: a data set or generator that wraps its own.

    Any registered data set with a field `dataset`, or generator with a field `generator`, can be
    a control. A field `generator` of a data set gets the experiment's, a field `seed` its seed.

    Raises:
        UsageError: there is no such component, or it wraps nothing.
    """
    is_generator = any(each.name == name for each in installed().all("generator"))
    kind = "generator" if is_generator else "dataset"
    cls = find(kind, name)
    fields = {field.alias for field in attrs.fields(cls)} if attrs.has(cls) else set()
    if kind not in fields:
        asked = f"{kind} {name!r} was asked for as a control"
        raise UsageError(asked, f"It wraps no other {kind}", f"Give one with a field {kind!r}")
    values: dict[str, Any] = {
        "dataset": experiment.dataset,
        "generator": experiment.generator,
        "seed": experiment.seed,
    }
    wrapped = cls(**{key: value for key, value in values.items() if key in fields})
    if is_generator:
        return attrs.evolve(experiment, generator=wrapped)
    return attrs.evolve(experiment, dataset=wrapped)


def pair_key(id: str) -> str:
    """The id of the example that a control's example was made of: "<id>~<control>"."""
    return id.rpartition("~")[0]


MATTERS = 0.1
"""A difference in steps matters from this share of what true pairs take: the equivalence bound."""


FEWEST = 10
"""From so many pairs on something is said: of fewer a bootstrap interval is too narrow."""


@attrs.frozen
class Sentence:
    """Whether true pairs are easier than shuffled ones, in one plain sentence.

    Easier means that the whole interval is above zero, harder that it is below. No easier means
    that the interval excludes a difference that would matter; a wide interval around zero says
    nothing, and so does the sentence.

    Attributes:
        difference: shuffled minus true, in steps to exact with the budget for those that never
            were, averaged for each example over the numbers of slots.
        bound: from how many steps a difference matters; None where none were compared.
    """

    difference: Estimate
    bound: float | None = None

    @property
    def text(self) -> str:
        """The sentence."""
        value, low, high = self.difference.value, self.difference.low, self.difference.high
        if value is None or low is None or high is None or self.bound is None:
            return "Nothing can be said of true against shuffled pairs: none were compared."
        verdict = easier("true pairs", "shuffled ones", self.difference, self.bound)
        return (
            f"On this model and set, {verdict} "
            f"(shuffled pairs need {value:+.1f} steps to exact, "
            f"95 % CI [{low:+.1f}, {high:+.1f}], {self.difference.count} pairs; "
            f"{self.bound:.1f} steps, {MATTERS:.0%} of what true pairs take, would matter)."
        )


def easier(first: str, second: str, difference: Estimate, bound: float) -> str:
    """What may be said of the first against the second, as a clause.

    Args:
        first: what the first are called.
        second: what the second are called.
        difference: second minus first, of a cost.
        bound: from where a difference matters.
    """
    if difference.low is None or difference.high is None or difference.count < FEWEST:
        return f"{difference.count} pairs say nothing of {first} against {second}"
    if difference.low > 0:
        little = ", though by less than would matter" if difference.high < bound else ""
        return f"{first} are easier than {second}{little}"
    if difference.high < 0:
        little = ", though by less than would matter" if difference.low > -bound else ""
        return f"{first} are harder than {second}{little}"
    if difference.high < bound:
        return f"{first} are no easier than {second}"
    return f"it stays open whether {first} are easier than {second}"


def compare(true: Mapping[int, Trial], shuffled: Mapping[int, Trial]) -> Sentence:
    """Compare the runs on true and on shuffled pairs, K -> run."""
    both = [(true[slots], shuffled[slots]) for slots in true if slots in shuffled]
    taken = [value for first, _ in both if (value := first.capped_steps.value) is not None]
    return Sentence(mean_step_difference(both), MATTERS * fmean(taken) if taken else None)
