"""Plan: what the protocol is to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from dcm.dataset import TaskDataset
from dcm.errors import UsageError
from dcm.optimizer import Optimizer
from dcm.plugins import find
from dcm.running.experiment import Experiment

STAGES = (0, 1, 2, 3, 4)
CONTROLS = ("shuffled", "wrong-answer", "random-tokens", "random-init")


def _known_stages(instance: object, attribute: object, value: tuple[int, ...]) -> None:
    if not value or set(value) - set(STAGES):
        asked = f"stages {', '.join(map(str, value)) or 'none'} were asked for"
        raise UsageError(asked, "There are 0 to 4", "Give some of them: --stages 0,1,2,3")


def _at_least(least: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if value < least:
            raise UsageError(f"{attribute.name} = {value}", "", f"Give {least} or more")

    return check


def _each_at_least_one(instance: object, attribute: object, value: tuple[int, ...]) -> None:
    if any(each < 1 for each in value):
        raise UsageError(f"slots of controls {value} were asked for", "", "Give 1 or more each")


@attrs.frozen
class Plan:
    """What the protocol is to do. The defaults are those of the experiment's plan.

    Attributes:
        experiment: the joint run of stage 2; the other runs are changes of it. Its criterion
            ends rows; whether they have converged is judged of the saved contents' losses.
        stages: which of 0 to 4.
        diagnostic_pairs: examples of the single-target runs of stage 1, one attempt each.
        false_draws: fresh random contents for each example, to find the false-convergence rate.
        spot_checks: fewest converged examples to show in stage 3; all failed ones are.
        controls: names of data set and generator wrappers to compare with; none for no controls.
        control_slots: K of the control runs.
        control_pairs: examples of each control run, one attempt each.
        control_steps: step budget of the control runs.
        ablations: label -> changed experiment, for stage 4.
        ablation_pairs: examples of each run of stage 4.
        decide_by: which rule gates count by: "auto" takes `seed-rule` unless it is vacuous, then
            `exact`.
        force: go on past failed gates.
    """

    experiment: Experiment
    stages: tuple[int, ...] = attrs.field(
        default=(0, 1, 2, 3), converter=tuple, validator=_known_stages
    )
    diagnostic_pairs: int = attrs.field(default=50, validator=_at_least(1))
    false_draws: int = attrs.field(default=3, validator=_at_least(1))
    spot_checks: int = attrs.field(default=5, validator=_at_least(1))
    controls: tuple[str, ...] = attrs.field(default=CONTROLS, converter=tuple)
    control_slots: tuple[int, ...] = attrs.field(
        default=(1, 2, 4), converter=tuple, validator=_each_at_least_one
    )
    control_pairs: int = attrs.field(default=40, validator=_at_least(2))
    control_steps: int = attrs.field(default=200, validator=_at_least(1))
    ablations: Mapping[str, Experiment] = attrs.field(factory=dict)
    ablation_pairs: int = attrs.field(default=40, validator=_at_least(1))
    decide_by: str = attrs.field(
        default="auto", validator=attrs.validators.in_(("auto", "seed-rule", "exact"))
    )
    force: bool = False

    def describe(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            field.name: getattr(self, field.name)
            for field in attrs.fields(Plan)
            if field.name not in ("experiment", "ablations")
        } | {
            "stages": list(self.stages),
            "controls": list(self.controls),
            "control_slots": list(self.control_slots),
            "experiment": self.experiment.describe(),
            "ablations": list(self.ablations),
        }


def part(dataset: TaskDataset, count: int, seed: int) -> TaskDataset:
    """`count` examples of a data set, drawn by a seed, with their own ids; all if it has fewer."""
    if count >= len(dataset):
        return dataset
    chosen: TaskDataset = find("dataset", "sample")(dataset=dataset, count=count, seed=seed)
    return chosen


def one_attempt(optimizer: Optimizer) -> Optimizer:
    """The optimiser without its restarts."""
    restarts = find("optimizer", "restarts")
    return attrs.evolve(optimizer, count=1) if isinstance(optimizer, restarts) else optimizer
