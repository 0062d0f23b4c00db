"""The hooks a plugin implements: one for each kind, each only registers components."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pluggy

hookspec = pluggy.HookspecMarker("dcm")
hookimpl = pluggy.HookimplMarker("dcm")


def _name(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value != value.lower() or not value.replace("-", "").isalnum():
        raise ValueError(f"a component's name is lower case with hyphens, not {value!r}")


def _target(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    module, colon, name = value.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ValueError(f"a component's target is 'package.module:Class', not {value!r}")


@attrs.frozen
class Component:
    """Announces one class.

    Attributes:
        name: lower case with hyphens, unique within its kind and distribution.
        target: "package.module:Class", imported when the class is asked for and not before.
        summary: one line for `dcm list`.
    """

    name: str = attrs.field(validator=_name)
    target: str = attrs.field(validator=_target)
    summary: str


KINDS = {
    "generator": ("dcm_generators", "dcm.generator:Generator"),
    "dataset": ("dcm_datasets", "dcm.dataset:TaskDataset"),
    "objective": ("dcm_objectives", "dcm.objective:Objective"),
    "optimizer": ("dcm_optimizers", "dcm.optimizer:Optimizer"),
    "criterion": ("dcm_criteria", "dcm.criterion:ConvergenceCriterion"),
    "evaluator": ("dcm_evaluators", "dcm.evaluator:Evaluator"),
    "tracker": ("dcm_trackers", "dcm.tracking:Tracker"),
}
"""kind -> (hook, interface)"""


class Hooks:
    """The hook specifications. All results are collected; their order means nothing."""

    @hookspec
    def dcm_generators(self) -> Iterable[Component]:
        """Frozen language models."""

    @hookspec
    def dcm_datasets(self) -> Iterable[Component]:
        """Data sets and their wrappers."""

    @hookspec
    def dcm_objectives(self) -> Iterable[Component]:
        """Objectives."""

    @hookspec
    def dcm_optimizers(self) -> Iterable[Component]:
        """Optimisers and their wrappers."""

    @hookspec
    def dcm_criteria(self) -> Iterable[Component]:
        """Convergence criteria and their wrappers."""

    @hookspec
    def dcm_evaluators(self) -> Iterable[Component]:
        """Evaluators."""

    @hookspec
    def dcm_trackers(self) -> Iterable[Component]:
        """Experiment trackers."""
