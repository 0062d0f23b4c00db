"""Controls: what a result has to be compared with before it means anything."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component(
            "random-tokens",
            "dcm_controls.random_tokens:RandomTokens",
            "a control: random tokens in place of each text, as many as it has",
        ),
        Component(
            "wrong-answer",
            "dcm_controls.wrong_answer:WrongAnswer",
            "a control: each question with a wrong answer of the same kind",
        ),
    ]


@hookimpl
def dcm_generators() -> Iterable[Component]:
    return [
        Component(
            "random-init",
            "dcm_controls.random_init:RandomInit",
            "a control: another model's architecture with random weights",
        ),
    ]
