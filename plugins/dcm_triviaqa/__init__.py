"""TriviaQA: trivia questions."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component(
            "triviaqa",
            "dcm_triviaqa.triviaqa:TriviaQa",
            "TriviaQA: trivia questions with many accepted answers",
        )
    ]
