"""The objectives under their contract."""

from __future__ import annotations

import pytest

from dcm import Objective
from dcm.testing.contracts import ObjectiveContract
from dcm_objectives.joint import Joint
from dcm_objectives.single import Single


class TestJoint(ObjectiveContract):
    covers = "objective/joint"

    @pytest.fixture(params=[{}, {"question_weight": 0.25, "answer_weight": 3.0}])
    def objective(self, request: pytest.FixtureRequest) -> Objective:
        return Joint(**request.param)


class TestSingle(ObjectiveContract):
    covers = "objective/single"

    @pytest.fixture(params=["question", "answer"])
    def objective(self, request: pytest.FixtureRequest) -> Objective:
        return Single(request.param)
