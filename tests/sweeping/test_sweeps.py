"""Sweeps from Python: the grid, one model for all its cells, and trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DcmError, Experiment, TrackedRun, Tracker, UsageError
from dcm.sweeping import grid
from dcm.testing.doubles import TinyGenerator, ToyTask


def experiment() -> Experiment:
    return Experiment(generator=TinyGenerator(), dataset=ToyTask(count=2), slots=8, max_steps=40)


def test_a_grid_sets_fields_of_components() -> None:
    cells = grid(experiment(), {"slots": [2, 4], "optimizer.inner.lr": [0.1]})
    assert [cell.name for cell in cells] == [f"slots={k},optimizer.inner.lr=0.1" for k in (2, 4)]
    assert [cell.experiment.optimizer.inner.lr for cell in cells] == [0.1, 0.1]


@pytest.mark.parametrize("key", ["slot", "optimizer.inner.rate", "evaluators.7.partial"])
def test_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="no"):
        grid(experiment(), {key: [1]})


class Told(Tracker):
    """Remembers what the runs were described as, by their names."""

    def __init__(self) -> None:
        self.descriptions: dict[str, Mapping[str, Any]] = {}

    def start(self, name: str, description: Mapping[str, Any]) -> TrackedRun:
        self.descriptions[name] = description
        raise DcmError("it remembers, and no more")


def test_a_tracker_is_told_what_all_cells_share_and_what_varies(tmp_path: Path) -> None:
    told = Told()
    small = Experiment(dataset=dcm.find("dataset", "samples")(limit=1), max_steps=5)
    dcm.sweep(tmp_path / "grid", small, {"slots": [4, 8]}, tracker=told)
    described = told.descriptions["grid"]
    assert described["sweep"] == {"slots": "4, 8"}
    assert "slots" not in described
    assert described["dataset"]["params"]["limit"] == 1


def test_cells_share_one_loaded_model() -> None:
    base = experiment()
    cells = grid(base, {"slots": [2, 4]})
    assert all(cell.experiment.generator is base.generator for cell in cells)
