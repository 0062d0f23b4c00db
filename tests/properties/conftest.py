"""What the property tests of the solver share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dcm import Example, Generator, Outcome, solve
from dcm.testing.doubles import TinyGenerator


class Results(dict[str, dict[str, Any]]):
    """id -> all that its outcome says, comparable to the last bit; and the outcomes."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = {outcome.example.id: outcome for outcome in outcomes}
        super().__init__((key, everything(outcome)) for key, outcome in self.outcomes.items())

    def of(self, key: str) -> Results:
        """Those of one example."""
        return Results([self.outcomes[key]])


@pytest.fixture(scope="session")
def tiny() -> TinyGenerator:
    generator = TinyGenerator()
    assert generator.width == 64
    return generator


def everything(outcome: Outcome) -> dict[str, Any]:
    """All that an outcome says, comparable to the last bit."""
    content = outcome.content
    return {
        "example": outcome.example,
        "status": outcome.status,
        "content": None if content is None else content.numpy().tobytes(),
        "reason": outcome.reason,
        "attempts": (outcome.attempts, outcome.attempt),
        "steps": (outcome.steps, outcome.row_steps),
        # As text, since a loss that is not a number equals nothing.
        "losses": repr(dict(outcome.losses)),
        "exact": outcome.exact,
        "margin": repr(outcome.margin),
        "baselines": repr(outcome.baselines),
        "curve": repr([(step, dict(losses)) for step, losses in outcome.curve]),
        "certified": outcome.certified,
    }


@pytest.fixture(scope="session")
def results() -> Callable[..., Results]:
    """Solves and gives id -> all that the outcome says; each example has one outcome."""

    def solved(generator: Generator, examples: Iterable[Example], **options: Any) -> Results:
        examples = list(examples)
        outcomes = list(solve(generator, examples, **options))
        found = Results(outcomes)
        assert len(outcomes) == len(found)
        assert sorted(found) == sorted(example.id for example in examples)
        return found

    return solved
