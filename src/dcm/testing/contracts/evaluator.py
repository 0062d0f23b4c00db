"""What an evaluator promises."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcm.evaluator import Evaluation, Evaluator
from dcm.generator import Generator
from dcm.outcome import Outcome
from dcm.testing.contracts.component import FEW, ComponentContract
from dcm.testing.doubles import TinyGenerator
from dcm.testing.strategies import outcomes

_TINY = TinyGenerator()
_runs = st.lists(outcomes(), min_size=1, max_size=4, unique_by=lambda outcome: outcome.example.id)


class EvaluatorContract(ComponentContract):
    """One flat mapping of JSON values an example, and numbers that summarise them."""

    kind = "evaluator"

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        raise NotImplementedError("override the fixture `evaluator`")

    @pytest.fixture
    def component(self, evaluator: Evaluator) -> Evaluator:
        return evaluator

    @pytest.fixture
    def generator(self) -> Generator:
        """What the contents are for: a tiny random model unless overridden."""
        return _TINY

    @FEW
    @given(run=_runs)
    def test_every_example_gets_a_flat_mapping(
        self, evaluator: Evaluator, generator: Generator, run: list[Outcome]
    ) -> None:
        found = _evaluate(evaluator, generator, run)
        assert len(found) == len(run)
        for evaluation in found:
            assert all(isinstance(each, float | int | bool | str) for each in evaluation.values())
            assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation

    @FEW
    @given(run=_runs)
    def test_evaluations_stand_in_the_order_of_the_examples(
        self, evaluator: Evaluator, generator: Generator, run: list[Outcome]
    ) -> None:
        backwards = _evaluate(evaluator, generator, run[::-1])
        assert backwards[::-1] == _evaluate(evaluator, generator, run)

    @FEW
    @given(run=_runs)
    def test_keys_are_the_same_where_the_same_modes_were_decoded(
        self, evaluator: Evaluator, generator: Generator, run: list[Outcome]
    ) -> None:
        keys: dict[frozenset[str], set[frozenset[str]]] = {}
        for outcome, evaluation in zip(run, _evaluate(evaluator, generator, run), strict=True):
            keys.setdefault(frozenset(outcome.decoded), set()).add(frozenset(evaluation))
        assert all(len(different) == 1 for different in keys.values())

    @FEW
    @given(run=_runs)
    def test_a_summary_is_numbers(
        self, evaluator: Evaluator, generator: Generator, run: list[Outcome]
    ) -> None:
        found = _evaluate(evaluator, generator, run)
        summary = evaluator.summarise(found)
        _assert_numbers(summary)
        # A run that is resumed reads them from a file.
        assert evaluator.summarise(json.loads(json.dumps(found))) == summary

    def test_nothing_can_be_evaluated_and_summarised(
        self, evaluator: Evaluator, generator: Generator
    ) -> None:
        assert evaluator.evaluate(generator, [], []) == []
        _assert_numbers(evaluator.summarise([]))


def _evaluate(evaluator: Evaluator, generator: Generator, run: list[Outcome]) -> list[Evaluation]:
    content = torch.zeros(2, generator.width)
    fitting = [
        outcome if outcome.content is None else attrs.evolve(outcome, content=content)
        for outcome in run
    ]
    return evaluator.evaluate(generator, [outcome.example for outcome in fitting], fitting)


def _assert_numbers(summary: Mapping[str, float]) -> None:
    for name, value in summary.items():
        assert isinstance(name, str)
        assert math.isfinite(value)
