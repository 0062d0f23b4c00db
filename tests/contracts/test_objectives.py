"""The objectives under their contract."""

from __future__ import annotations

import pytest

from dcm import Objective
from dcm.testing.contracts import ObjectiveContract
from dcm_objectives.joint import Joint
from dcm_objectives.paraphrase import Paraphrase
from dcm_objectives.project_conflicts import ProjectConflicts
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


class TestParaphrase(ObjectiveContract):
    covers = "objective/paraphrase"

    @pytest.fixture(
        params=[
            {},
            {"weight": 2.0, "reduce": "sum", "weighting": "worst", "answer_weight": 3.0},
            {"weighting": "softmax", "temperature": 0.5, "subset": 1},
            {"modes": "own", "most": 1, "weighting": "softmax"},
        ],
        ids=str,
    )
    def objective(self, request: pytest.FixtureRequest) -> Objective:
        return Paraphrase(**request.param)


class TestProjectConflicts(ObjectiveContract):
    covers = "objective/project-conflicts"

    @pytest.fixture(params=[Joint(), Paraphrase(weighting="worst")], ids=repr)
    def objective(self, request: pytest.FixtureRequest) -> Objective:
        return ProjectConflicts(request.param)
