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
        Component(
            "semantic",
            "dcm_evaluators.semantic:Semantic",
            "whether decoded texts mean what they should, by F1 or a judging model",
        ),
    ]
