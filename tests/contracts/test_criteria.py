"""The convergence criteria under their contract."""

from __future__ import annotations

import pytest

from dcm import AllOf, AnyOf, ConvergenceCriterion
from dcm.testing.contracts import CriterionContract
from dcm_criteria.exact import Exact
from dcm_criteria.patience import Patience
from dcm_criteria.penalty import PenaltyBelow
from dcm_criteria.ratios import RatioToRandom, SeedRule, WithinFullContext


class TestExact(CriterionContract):
    covers = "criterion/exact"

    @pytest.fixture(params=[None, 0.0, 1.5])
    def criterion(self, request: pytest.FixtureRequest) -> ConvergenceCriterion:
        return Exact(request.param)


class TestRatioToRandom(CriterionContract):
    covers = "criterion/ratio-to-random"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        return RatioToRandom(0.8)


class TestWithinFullContext(CriterionContract):
    covers = "criterion/within-full-context"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        return WithinFullContext(1.5)


class TestSeedRule(CriterionContract):
    covers = "criterion/seed-rule"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        return SeedRule()


class TestPenaltyBelow(CriterionContract):
    covers = "criterion/penalty-below"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        return PenaltyBelow(0.5)


class TestPatience(CriterionContract):
    covers = "criterion/patience"

    @pytest.fixture(params=[Patience(steps=2), Patience(Patience(RatioToRandom(), 2), 2)])
    def criterion(self, request: pytest.FixtureRequest) -> ConvergenceCriterion:
        found: ConvergenceCriterion = request.param
        return found


class TestAnyOf(CriterionContract):
    covers = "criterion/any-of"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        return AnyOf((Exact(), Patience(RatioToRandom(0.9), 2)))


class TestAllOf(CriterionContract):
    covers = "criterion/all-of"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        return AllOf((Patience(Exact(0.0), 2), AnyOf((Exact(), Patience(steps=1)))))
