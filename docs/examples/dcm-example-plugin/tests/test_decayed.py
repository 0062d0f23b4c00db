"""The objective."""

from __future__ import annotations

import pytest
import torch
from dcm_example.decayed import Decayed

from dcm.testing.contracts import ObjectiveContract


class TestDecayed(ObjectiveContract):
    covers = "objective/decayed"

    @pytest.fixture(params=[0.0, 0.5])
    def objective(self, request: pytest.FixtureRequest) -> Decayed:
        return Decayed(decay=request.param)


def test_the_penalty_is_the_mean_square_of_each_content() -> None:
    content = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])
    penalty = Decayed(decay=2.0).penalty(content)
    assert penalty is not None
    assert penalty.tolist() == [10.0, 0.0]
