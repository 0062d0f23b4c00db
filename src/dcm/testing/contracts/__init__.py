"""Contract tests: what a component of each kind promises, as test classes for pytest.

Derive from the class of your component's kind and override its one fixture:

    class TestMySet(DatasetContract):
        covers = "dataset/my-set"

        @pytest.fixture
        def dataset(self, tmp_path):
            ...
            return MySet(path=str(file))

A class may be tested in several configurations, by a class each or by a fixture with params.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "component",
            "criterion",
            "dataset",
            "evaluator",
            "generator",
            "objective",
            "optimizer",
            "tracker",
        )
    )
)

from dcm.testing.contracts.component import ComponentContract  # noqa: E402 - after the line above
from dcm.testing.contracts.criterion import CriterionContract  # noqa: E402
from dcm.testing.contracts.dataset import DatasetContract  # noqa: E402
from dcm.testing.contracts.evaluator import EvaluatorContract  # noqa: E402
from dcm.testing.contracts.generator import CausalLMContract, GeneratorContract  # noqa: E402
from dcm.testing.contracts.objective import ObjectiveContract  # noqa: E402
from dcm.testing.contracts.optimizer import OptimizerContract  # noqa: E402
from dcm.testing.contracts.tracker import TrackerContract  # noqa: E402

__all__ = [
    "CausalLMContract",
    "ComponentContract",
    "CriterionContract",
    "DatasetContract",
    "EvaluatorContract",
    "GeneratorContract",
    "ObjectiveContract",
    "OptimizerContract",
    "TrackerContract",
]
