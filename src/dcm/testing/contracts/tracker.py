"""What a tracker promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcm.testing.contracts.component import ComponentContract
from dcm.tracking import Tracker

_DESCRIPTION = {
    "seed": 0,
    "slots": 4,
    "dataset": {"kind": "dataset", "name": "toy", "params": {"count": 2, "path": None}},
    "versions": {"dcm": "1.0"},
}


class TrackerContract(ComponentContract):
    """A run is begun, told of, and finished, whether it fails or not."""

    kind = "tracker"

    @pytest.fixture
    def tracker(self) -> Tracker:
        raise NotImplementedError("override the fixture `tracker`")

    @pytest.fixture
    def component(self, tracker: Tracker) -> Tracker:
        return tracker

    @pytest.mark.parametrize("failed", [False, True])
    def test_a_run_is_tracked_from_start_to_finish(
        self, tracker: Tracker, tmp_path: Path, failed: bool
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file.txt").write_text("text")
        run = tracker.start("a run", _DESCRIPTION)
        _assert_one_line(run.hint)
        for step in range(3):
            run.metrics({"finished": float(step), "rate": 0.5}, step)
        run.curve("loss", [(1, 3.0), (2, 1.5)])
        artifacts = [tmp_path / "folder", tmp_path / "folder" / "file.txt", tmp_path / "missing"]
        run.finish({"rate": 0.5, "status": {"CONVERGED": 2}, "device": "cpu"}, artifacts, failed)
        _assert_one_line(run.hint)

    def test_a_run_may_end_before_anything_was_told(self, tracker: Tracker) -> None:
        tracker.start("an empty run", _DESCRIPTION).finish({}, [], failed=True)

    def test_runs_may_be_tracked_side_by_side(self, tracker: Tracker) -> None:
        runs = [tracker.start(name, _DESCRIPTION) for name in ("one", "other")]
        for run in runs:
            run.metrics({"finished": 1.0}, 1)
        for run in runs:
            run.finish({}, [], failed=False)


def _assert_one_line(hint: str) -> None:
    assert hint.strip()
    assert len(hint.splitlines()) == 1
