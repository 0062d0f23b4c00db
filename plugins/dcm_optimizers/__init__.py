"""Optimisers: adam, muon and restarts."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_optimizers() -> Iterable[Component]:
    return [
        Component("adam", "dcm_optimizers.adam:Adam", "Adam, a learning rate chosen by K"),
        Component("muon", "dcm_optimizers.muon:Muon", "fewer steps where texts are long"),
        Component("restarts", "dcm_optimizers.restarts:Restarts", "several starts per example"),
    ]
