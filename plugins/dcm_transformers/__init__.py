"""Generators: Hugging Face causal language models."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_generators() -> Iterable[Component]:
    return [
        Component(
            "transformers",
            "dcm_transformers.generator:Transformers",
            "any Hugging Face causal language model, by hub name or folder",
        ),
    ]
