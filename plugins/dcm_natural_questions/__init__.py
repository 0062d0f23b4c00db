"""Natural Questions: questions asked of a search engine."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component(
            "natural-questions",
            "dcm_natural_questions.natural_questions:NaturalQuestions",
            "Natural Questions: questions asked of a search engine",
        )
    ]
