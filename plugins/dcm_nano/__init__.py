"""Generators: the bundled model."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_generators() -> Iterable[Component]:
    return [
        Component(
            "nano",
            "dcm_nano.generator:Nano",
            "the bundled 6.1 M parameter model, needs no download",
        ),
    ]
