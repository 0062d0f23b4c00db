"""Samples: the bundled question-answer pairs."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [Component("samples", "dcm_samples.samples:Samples", "bundled pairs, ready to use")]
