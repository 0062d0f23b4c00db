"""The optimisers under their contract."""

from __future__ import annotations

import pytest

from dcm import Optimizer
from dcm.testing.contracts import OptimizerContract
from dcm_optimizers.adam import Adam
from dcm_optimizers.muon import Muon
from dcm_optimizers.restarts import Restarts


class TestAdam(OptimizerContract):
    covers = "optimizer/adam"

    @pytest.fixture(params=[{}, {"lr": 0.1, "betas": [0.5, 0.9], "start_scale": 0.5}])
    def optimizer(self, request: pytest.FixtureRequest) -> Optimizer:
        return Adam(**request.param)


class TestMuon(OptimizerContract):
    covers = "optimizer/muon"

    @pytest.fixture(params=[{}, {"lr": 0.1, "momentum": 0.9, "decay": 5.0, "start_scale": 0.5}])
    def optimizer(self, request: pytest.FixtureRequest) -> Optimizer:
        return Muon(**request.param)


class TestRestarts(OptimizerContract):
    covers = "optimizer/restarts"

    @pytest.fixture(params=[Restarts(), Restarts(Restarts(Adam(lr=0.2), count=2), count=3)])
    def optimizer(self, request: pytest.FixtureRequest) -> Optimizer:
        found: Optimizer = request.param
        return found
