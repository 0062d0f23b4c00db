"""The trackers under their contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcm import Tracker
from dcm.testing.contracts import TrackerContract
from dcm_mlflow.tracker import MlflowTracker

# What mlflow does to warn us is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


# One store for all tests, since a new one takes seconds.
@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


class TestMlflow(TrackerContract):
    covers = "tracker/mlflow"

    @pytest.fixture
    def tracker(self, store: Path) -> Tracker:
        return MlflowTracker(f"sqlite:///{store}", experiment="contract")
