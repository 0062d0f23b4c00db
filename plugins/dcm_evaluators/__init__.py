"""Evaluators."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_evaluators() -> Iterable[Component]:
    return [
        Component(
            "greedy-decode",
            "dcm_evaluators.greedy_decode:GreedyDecode",
            "what greedy decoding gives: verbatim, token F1, pass / partial / fail",
        ),
    ]
