"""What runs came to, as frames: of one, of several, of folders of them, finished or not."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import dcm


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with two finished runs, K = 4 and K = 8."""
    folder = tmp_path_factory.mktemp("sweep")
    for slots in (4, 8):
        arithmetic = dcm.find("dataset", "arithmetic")(count=3)
        dcm.Experiment(dataset=arithmetic, slots=slots).run(folder / f"slots-{slots}")
    return folder


def test_a_folder_of_runs_is_all_of_them(runs) -> None:
    found = dcm.results(runs)
    assert [Path(run).name for run in found.runs["run"]] == ["slots-4", "slots-8"]
    assert found.runs["slots"].tolist() == [4, 8]
    assert found.runs["generator"].tolist() == ["nano", "nano"]
    assert found.runs["done"].all()
    assert found.examples.groupby("run").size().tolist() == [3, 3]
    both = dcm.results(runs / "slots-4", runs / "slots-8", runs)
    pd.testing.assert_frame_equal(both.runs, found.runs)


def test_numbers_are_those_of_the_run(runs) -> None:
    found = dcm.results(runs / "slots-8")
    lines = (runs / "slots-8" / "results.jsonl").read_text().splitlines()
    by_id = {line["id"]: line for line in map(json.loads, lines)}
    for row in found.examples.to_dict("records"):
        line = by_id[row["id"]]
        assert row["steps"] == line["steps"]
        assert row["certified"] is line["certified"]
        assert row["loss.question"] == line["losses"]["question"]
        assert row["decoded.answer"] == line["decoded"]["answer"]
        assert row["baseline.random.answer"] == line["baselines"]["random"]["answer"]
    summary = json.loads((runs / "slots-8" / "summary.json").read_text())
    assert found.runs["certified_rate"].item() == summary["certified_rate"]
    last = found.curves.groupby(["id", "mode"])["step"].max().unstack()
    steps = found.examples.set_index("id")["steps"].sort_index()
    assert (last["answer"].astype(int) == steps.astype(int)).all()


def test_types_hold_with_nothing_in_them(runs, tmp_path) -> None:
    """A run that has only begun, and one that was cut off in the middle of a line."""
    (tmp_path / "begun").mkdir()
    text = (runs / "slots-4" / "experiment.json").read_text()
    (tmp_path / "begun" / "experiment.json").write_text(text)
    whole = (runs / "slots-4" / "results.jsonl").read_text()
    (tmp_path / "begun" / "results.jsonl").write_text(whole[: len(whole) // 2])
    found, of_all = dcm.results(tmp_path / "begun"), dcm.results(runs)
    assert not found.runs["done"].any()
    assert (
        found.runs["finished"].item() == len(found.examples) == whole[: len(whole) // 2].count("\n")
    )
    assert found.runs["certified_rate"].isna().all()
    for name in ("runs", "examples", "curves"):
        expected = getattr(of_all, name).dtypes
        types = getattr(found, name).dtypes
        assert types.to_dict() == expected[types.index].to_dict()


def test_what_is_no_run_is_said(tmp_path) -> None:
    with pytest.raises(dcm.RunDirectoryError, match=r"There is no such folder"):
        dcm.results(tmp_path / "none")
    with pytest.raises(dcm.RunDirectoryError, match=r"has no experiment\.json"):
        dcm.results(tmp_path)
    with pytest.raises(dcm.UsageError, match="no run was named"):
        dcm.results()


def test_a_damaged_line_is_named(runs, tmp_path) -> None:
    (tmp_path / "experiment.json").write_text((runs / "slots-4" / "experiment.json").read_text())
    (tmp_path / "results.jsonl").write_text('{"id": "a"\n')
    with pytest.raises(dcm.RunDirectoryError, match=r"results\.jsonl:1: the line is damaged"):
        dcm.results(tmp_path)
