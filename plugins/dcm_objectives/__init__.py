"""Objectives: joint, single and paraphrase."""

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
            "joint, with the question's variants as further targets",
        ),
    ]
