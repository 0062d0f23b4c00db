"""Objectives: joint, single, paraphrase, and one that projects conflicting gradients."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_objectives() -> Iterable[Component]:
    return [
        Component("joint", "dcm_objectives.joint:Joint", "question and answer from one content"),
        Component("single", "dcm_objectives.single:Single", "one mode alone, the diagnostic"),
        Component(
            "paraphrase",
            "dcm_objectives.paraphrase:Paraphrase",
            "joint, with other wordings of question and answer beside them",
        ),
        Component(
            "project-conflicts",
            "dcm_objectives.project_conflicts:ProjectConflicts",
            "another objective, gradients that fight projected",
        ),
    ]
