"""The values that a run chose itself, where its description says none was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from dcm.criterion import ConvergenceCriterion
from dcm.generator import Generator
from dcm.optimizer import Optimizer

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment


def chosen_values(experiment: Experiment) -> dict[str, Any]:
    """Key, as `--set` names it -> the value that was chosen where none, or "auto", was given.

    The number of lanes is not among them: it grows while a run learns what memory holds, and
    stands in summary.json.
    """
    return dict(_chosen(experiment, experiment, ""))


def _chosen(component: Any, experiment: Experiment, above: str) -> Iterator[tuple[str, Any]]:
    values: dict[str, Any] = {}
    if isinstance(component, Optimizer):
        values = dict(component.chosen(experiment.slots))
    elif isinstance(component, ConvergenceCriterion):
        values = dict(component.chosen(experiment.generator.logit_noise))
    elif isinstance(component, Generator):
        dtype = str(component.dtype).removeprefix("torch.")
        values = {"dtype": dtype, "device": str(component.device)}
    for field in attrs.fields(type(component)):
        given, name = getattr(component, field.name), f"{above}{field.alias}"
        if field.alias in values and given in (None, "auto"):
            yield name, values[field.alias]
        members = given if isinstance(given, tuple) else (given,)
        for number, member in enumerate(members):
            if attrs.has(type(member)):
                place = f"{name}.{number}." if isinstance(given, tuple) else f"{name}."
                yield from _chosen(member, experiment, place)
