"""An example of a dcm plugin: a data set and an objective."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component("number-words", "dcm_example.number_words:NumberWords", "numbers and their names")
    ]


@hookimpl
def dcm_objectives() -> Iterable[Component]:
    return [Component("decayed", "dcm_example.decayed:Decayed", "joint, with a small content")]
