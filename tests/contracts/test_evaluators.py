"""The evaluators under their contract."""

from __future__ import annotations

import pytest

from dcm import Evaluator
from dcm.testing.contracts import EvaluatorContract
from dcm_evaluators.greedy_decode import GreedyDecode


class TestGreedyDecode(EvaluatorContract):
    covers = "evaluator/greedy-decode"

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return GreedyDecode(partial=0.25)
