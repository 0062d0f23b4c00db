"""Whole runs: recorded, resumed after every kind of interruption, tracked, repeated."""

from __future__ import annotations

import json

import attrs
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from dcm import (
    DcmError,
    Experiment,
    Modes,
    RunDirectoryError,
    TrackedRun,
    Tracker,
    UsageError,
    find,
)
from dcm.running.run_directory import RunDirectory
from dcm.testing.doubles import save_tiny_model

COUNT = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    generator = find("generator", "transformers")(model=str(folder), device="cpu")
    assert generator.width == 64
    return generator


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Short texts, and one example that does not fit."""
    lines = [
        {"id": f"e{n}", "question": "ab"[: 1 + n % 2] + str(n), "answer": f"{n}" * (n % 3 + 1)}
        for n in range(COUNT)
    ]
    lines[5]["question"] = "x" * 400
    file = tmp_path_factory.mktemp("data") / "data.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return find("dataset", "jsonl")(path=str(file), id="id")


@pytest.fixture(scope="module")
def experiment(model, dataset):
    adam = find("optimizer", "adam")(lr=0.1)
    return Experiment(
        generator=model,
        dataset=dataset,
        optimizer=find("optimizer", "restarts")(adam, count=2),
        slots=6,
        max_steps=22,
        lanes=3,
        baseline_draws=1,
        on_error="skip",
    )


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    experiment.run(folder)
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def by_id(folder):
    """id -> the result and its content, without the name of the file that holds it."""
    found = {}
    for result in lines(folder):
        assert result["id"] not in found, "an example is there twice"
        ref = result.pop("content")
        if ref is not None:
            with safe_open(folder / ref["file"], framework="pt") as shard:
                result["tensor"] = shard.get_tensor(ref["key"]).tolist()
        found[result["id"]] = result
    return found


def curves(folder):
    rows = pq.read_table(folder / "curves.parquet").to_pylist()
    points = [(row["id"], row["mode"], row["step"]) for row in rows]
    assert len(set(points)) == len(points), "a curve is there twice"
    return {(row["id"], row["mode"], row["step"]): (row["attempt"], row["loss"]) for row in rows}


class KilledError(Exception):
    """What a test ends a run with."""


def killed_after(finished):
    def on_progress(progress):
        if progress.looked_at is None and progress.finished >= finished:
            raise KilledError

    return on_progress


def test_a_run_leaves_what_the_contract_says(whole, experiment):
    assert {file.name for file in whole.iterdir()} == {
        "experiment.json",
        "results.jsonl",
        "summary.json",
        "curves.parquet",
        "content",
        "sessions.json",
    }
    results = lines(whole)
    assert sorted(result["id"] for result in results) == [f"e{n}" for n in range(COUNT)]
    assert {result["status"] for result in results} == {"CONVERGED", "MAX_STEPS", "FAILED"}
    for result in results:
        if result["status"] == "FAILED":
            assert "400" in result["reason"] or "401" in result["reason"]
            assert result["content"] is None
            assert result["certified"] is None
            continue
        assert set(result["losses"]) == {"question", "answer"}
        assert set(result["baselines"]) == {"random", "single_token", "full_context"}
        assert set(result["decoded"]) == {"question", "answer"}
        assert result["exact"] == (result["margin"] > 0)
        assert result["certified"] == (
            result["decoded"] == {"question": result["question"], "answer": result["answer"]}
        )
        assert result["evaluations"]["task"]["exact_match"] == float(
            result["decoded"]["answer"] == result["answer"]
        )
        assert result["evaluations"]["greedy-decode"]["question_verbatim"] == (
            result["decoded"]["question"] == result["question"]
        )
        assert len(by_id(whole)[result["id"]]["tensor"]) == experiment.slots
    description = json.loads((whole / "experiment.json").read_text())
    assert Experiment.build(description) == experiment
    assert {"versions", "git_commit"} <= set(description)


def test_contents_are_on_disk_with_the_modes_they_need(whole, model):
    modes = Modes(model)
    for result in lines(whole):
        if result["content"]:
            with safe_open(whole / result["content"]["file"], framework="pt") as shard:
                for mode in ("question", "answer"):
                    assert torch.equal(shard.get_tensor(f"mode/{mode}"), modes.vector(mode))
                assert shard.metadata()["layout"] == "prefix"
                assert shard.get_tensor(result["content"]["key"]).dtype == torch.float32


def test_the_summary_is_that_of_the_results(whole):
    summary = json.loads((whole / "summary.json").read_text())
    results = lines(whole)
    counts = {}
    for result in results:
        counts[result["status"]] = counts.get(result["status"], 0) + 1
    assert summary["status_counts"] == counts
    assert summary["failed_reasons"] == {"too long for the model": 1}
    assert summary["skipped"] == {}
    assert summary["examples"] == summary["finished"] == COUNT
    assert summary["exact_rate"] == sum(r["exact"] for r in results) / COUNT
    assert summary["certified_rate"] == sum(r["certified"] is True for r in results) / COUNT
    assert summary["row_steps"] == sum(r["row_steps"] for r in results)
    assert 0 < summary["useful_row_steps"] <= summary["row_steps"]
    assert (summary["device"], summary["dtype"]) == ("cpu", "float32")
    assert summary["wall_seconds"] > 0
    assert summary["peak_memory_bytes"] > 0
    grades = [r["evaluations"]["task"]["f1"] for r in results if r["evaluations"]]
    assert summary["evaluations"]["task"]["f1"] == pytest.approx(sum(grades) / len(grades))


def test_each_curve_is_there_once_and_is_that_of_the_kept_attempt(whole):
    found = curves(whole)
    for result in lines(whole):
        own = {key: value for key, value in found.items() if key[0] == result["id"]}
        if result["status"] == "FAILED":
            assert own == {}
            continue
        for mode, loss in result["losses"].items():
            points = {step: loss for (_, m, step), (_, loss) in own.items() if m == mode}
            assert min(points) == 1
            if result["steps"] in points:
                assert points[result["steps"]] == pytest.approx(loss)
        assert {attempt for attempt, _ in own.values()} <= {1, 2}


def test_two_runs_are_identical_byte_for_byte(whole, experiment, tmp_path):
    experiment.run(tmp_path / "again")
    name = "results.jsonl"
    assert (tmp_path / "again" / name).read_bytes() == (whole / name).read_bytes()
    assert by_id(tmp_path / "again") == by_id(whole)
    assert curves(tmp_path / "again") == curves(whole)


def test_another_number_of_lanes_gives_the_same_results(whole, experiment, tmp_path):
    attrs.evolve(experiment, lanes=7).run(tmp_path / "wide")
    assert by_id(tmp_path / "wide") == by_id(whole)
    assert curves(tmp_path / "wide") == curves(whole)


def test_another_seed_gives_others(whole, experiment, tmp_path):
    attrs.evolve(experiment, seed=1).run(tmp_path / "other")
    ours, others = by_id(whole), by_id(tmp_path / "other")
    fits = [key for key in ours if ours[key]["status"] != "FAILED"]
    assert all(ours[key]["tensor"] != others[key]["tensor"] for key in fits)


@pytest.mark.parametrize("finished", [0, 1, 3, COUNT - 1, COUNT])
def test_an_interrupted_run_ends_as_if_it_had_not_been(whole, experiment, tmp_path, finished):
    folder = tmp_path / "run"
    with pytest.raises(KilledError):
        experiment.run(folder, on_progress=killed_after(finished))
    before = lines(folder)
    assert len(before) >= finished
    assert not (folder / "summary.json").exists()

    summary = experiment.run(folder, resume=True)
    assert lines(folder)[: len(before)] == before, "finished examples are not done again"
    assert by_id(folder) == by_id(whole)
    assert curves(folder) == curves(whole)
    expected = json.loads((whole / "summary.json").read_text())
    for key in ("examples", "finished", "status_counts", "exact_rate", "certified_rate"):
        assert summary[key] == expected[key]
    assert summary["mean_loss_ratio"] == pytest.approx(expected["mean_loss_ratio"])


def test_a_run_interrupted_again_and_again_ends(whole, experiment, tmp_path):
    folder = tmp_path / "run"
    interruptions = 0
    while True:
        already = len(lines(folder)) if folder.exists() else 0
        try:
            experiment.run(folder, resume=folder.exists(), on_progress=killed_after(already + 1))
        except KilledError:
            interruptions += 1
        if len(lines(folder)) == COUNT:
            break
    assert interruptions > 3
    experiment.run(folder, resume=True)
    assert by_id(folder) == by_id(whole)
    assert curves(folder) == curves(whole)


def test_a_kill_between_content_and_line_loses_and_doubles_nothing(
    whole, experiment, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    append = RunDirectory.append
    count = 0

    def killed(self, result):
        nonlocal count
        count += 1
        if count == 3:
            raise KilledError
        append(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", killed)
        with pytest.raises(KilledError):
            experiment.run(folder)
    assert any((folder / "content").iterdir())
    experiment.run(folder, resume=True)
    assert by_id(folder) == by_id(whole)
    assert curves(folder) == curves(whole)


def test_a_torn_line_is_done_again(whole, experiment, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KilledError):
        experiment.run(folder, on_progress=killed_after(3))
    file = folder / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    experiment.run(folder, resume=True)
    assert by_id(folder) == by_id(whole)


def test_a_finished_run_that_is_resumed_stays_as_it_is(whole, experiment, tmp_path):
    experiment.run(tmp_path / "run")
    before = (tmp_path / "run" / "results.jsonl").read_bytes()
    summary = experiment.run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == before
    assert summary["finished"] == COUNT
    assert curves(tmp_path / "run") == curves(whole)


def test_another_experiment_does_not_go_on_with_a_run(whole, experiment):
    before = (whole / "results.jsonl").read_bytes()
    with pytest.raises(RunDirectoryError, match=r"max_steps was 22, now it is 9"):
        attrs.evolve(experiment, max_steps=9).run(whole, resume=True)
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        experiment.run(whole)
    assert (whole / "results.jsonl").read_bytes() == before


def test_an_example_that_does_not_fit_stops_the_run_before_it_begins(experiment, tmp_path):
    with pytest.raises(UsageError, match=r"'e5' does not fit.*400|'e5' does not fit.*401"):
        attrs.evolve(experiment, on_error="stop").run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ids_must_differ_and_examples_exist(experiment, tmp_path):
    def run(**changes):
        attrs.evolve(experiment, **changes).run(tmp_path / "run")

    file = tmp_path / "data.jsonl"
    line = json.dumps({"id": "same", "question": "q", "answer": "a"}) + "\n"
    file.write_text(line * 2)
    jsonl = find("dataset", "jsonl")
    with pytest.raises(DcmError, match="same"):
        run(dataset=jsonl(path=str(file), id="id"))
    with pytest.raises(DcmError, match="empty"):
        run(dataset=jsonl(path=str(file), id=None, offset=10))
    assert not (tmp_path / "run").exists()


class Recorded(TrackedRun):
    def __init__(self):
        self.told = []

    def metrics(self, values, step):
        self.told.append(("metrics", dict(values), step))

    def curve(self, name, points):
        self.told.append(("curve", name, list(points)))

    def finish(self, summary, artifacts, failed):
        self.told.append(("finish", dict(summary), [file.name for file in artifacts], failed))

    @property
    def hint(self):
        return "look here"


class Recorder(Tracker):
    def __init__(self, run=None):
        self.run = run or Recorded()
        self.started = []

    def start(self, name, description):
        self.started.append((name, description))
        return self.run


def test_a_run_is_tracked_as_one(experiment, tmp_path):
    tracker = Recorder()
    summary = experiment.run(tmp_path / "my-run", tracker=tracker)
    ((name, description),) = tracker.started
    assert name == "my-run"
    written = json.loads((tmp_path / "my-run" / "experiment.json").read_text())
    assert description.items() >= written.items()
    assert description["directory"] == str(tmp_path / "my-run")
    told = tracker.run.told
    metrics = [each for each in told if each[0] == "metrics"]
    assert [step for _, _, step in metrics] == list(range(1, COUNT + 1))
    assert metrics[-1][1]["progress/exact_rate"] == summary["exact_rate"]
    names = {each[1] for each in told if each[0] == "curve"}
    assert {"loss/question/median", "loss/answer/median", "running"} <= names
    assert told[-1] == (
        "finish",
        summary,
        ["experiment.json", "results.jsonl", "summary.json", "curves.parquet"],
        False,
    )


def test_a_failed_run_is_tracked_as_failed(experiment, tmp_path):
    tracker = Recorder()
    with pytest.raises(KilledError):
        experiment.run(tmp_path / "run", tracker=tracker, on_progress=killed_after(2))
    kind, summary, files, failed = tracker.run.told[-1]
    assert (kind, summary, failed) == ("finish", {}, True)
    assert files == ["experiment.json", "results.jsonl"]


def test_a_tracker_that_fails_never_stops_a_run(whole, experiment, tmp_path):
    class Broken(Recorded):
        def metrics(self, values, step):
            super().metrics(values, step)
            if step == 2:
                raise OSError("the server is away")

    warnings = []
    tracker = Recorder(Broken())
    experiment.run(tmp_path / "run", tracker=tracker, warn=warnings.append)
    assert by_id(tmp_path / "run") == by_id(whole)
    (warning,) = warnings
    assert "the server is away" in warning
    # It is told the rest all the same: tracked runs go on by themselves.
    assert tracker.run.told[-1][0] == "finish"

    class CannotStart(Tracker):
        def start(self, name, description):
            raise OSError("no such place")

    warnings.clear()
    experiment.run(tmp_path / "other", tracker=CannotStart(), warn=warnings.append)
    assert by_id(tmp_path / "other") == by_id(whole)
    assert len(warnings) == 1
    assert "no such place" in warnings[0]


def test_progress_says_how_far_it_is(experiment, tmp_path):
    seen = []
    experiment.run(tmp_path / "run", on_progress=seen.append)
    assert {each.examples for each in seen} == {COUNT}
    finished = [each.finished for each in seen]
    assert finished == sorted(finished)
    assert finished[-1] == COUNT
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left is None
    assert seen[-1].lanes == 3


def test_wrong_fields_are_refused(experiment):
    for name, value in (("slots", 0), ("max_steps", -1), ("lanes", 0), ("slots", 1.5)):
        with pytest.raises(UsageError, match=name):
            attrs.evolve(experiment, **{name: value})
    description = experiment.describe()
    with pytest.raises(UsageError, match="no field 'slot'"):
        Experiment.build({**description, "slot": 3})
    with pytest.raises(UsageError, match="layout"):
        Experiment.build({**description, "layout": "middle"})


def test_the_suffix_layout_is_recorded_and_used(experiment, tmp_path):
    run = attrs.evolve(experiment, layout="suffix")
    run.run(tmp_path / "run")
    for result in lines(tmp_path / "run"):
        if result["content"]:
            with safe_open(tmp_path / "run" / result["content"]["file"], framework="pt") as shard:
                assert shard.metadata()["layout"] == "suffix"
    assert any(result["certified"] for result in lines(tmp_path / "run"))
