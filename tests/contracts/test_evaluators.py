"""The evaluators under their contract."""

from __future__ import annotations

import pytest

from dcm import Evaluator
from dcm.testing.contracts import EvaluatorContract
from dcm_evaluators.greedy_decode import GreedyDecode
from dcm_evaluators.semantic import Semantic


class TestGreedyDecode(EvaluatorContract):
    covers = "evaluator/greedy-decode"

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return GreedyDecode(partial=0.25)


class TestSemantic(EvaluatorContract):
    covers = "evaluator/semantic"

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return Semantic(threshold=0.5)
