"""The run directory: whole or absent, whatever is interrupted."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest
import torch

from dcm import RunDirectoryError
from dcm.running.run_directory import RunDirectory

DESCRIPTION = {"slots": 2, "dataset": {"name": "x"}, "versions": {"torch": "1"}, "git_commit": "a"}


WHOLE = {"content", "experiment.json", "results.jsonl", "summary.json", "curves.parquet"}

LINE = {
    "status": "CONVERGED",
    "reason": "",
    "attempts": 1,
    "steps": 2,
    "row_steps": 2,
    "question": "q",
    "answer": "a",
    "losses": {},
    "baselines": {},
    "exact": True,
    "margin": 0.5,
    "certified": True,
    "decoded": {},
    "evaluations": {},
    "content": None,
}


def line(id, **more):
    return {"id": id, **LINE, **more}


@pytest.fixture
def run(tmp_path):
    """A new run that nobody writes to any more."""
    with RunDirectory.create(tmp_path / "run", DESCRIPTION) as run:
        pass
    return run


def ids(run):
    return [result["id"] for result in run.results()]


def curve(id, *losses, attempt=1):
    return [
        {"id": id, "attempt": attempt, "step": step, "mode": "answer", "loss": loss}
        for step, loss in enumerate(losses, start=1)
    ]


def curves(run):
    table = pq.read_table(run.path / "curves.parquet").to_pylist()
    return {
        id: [row["loss"] for row in table if row["id"] == id] for id in {r["id"] for r in table}
    }


def test_a_new_run_has_its_description_and_no_results(run):
    written = json.loads((run.path / "experiment.json").read_text())
    assert {key: written[key] for key in DESCRIPTION} == DESCRIPTION
    assert set(written) - set(DESCRIPTION) == {"fingerprints"}
    assert list(run.results()) == []
    assert list(RunDirectory.open(run.path).results()) == []


def test_an_empty_folder_can_take_a_run(tmp_path):
    RunDirectory.create(tmp_path, DESCRIPTION)


def test_results_come_back_as_they_were_written(run):
    results = [line("ü\u2028\n\r\x85", margin=0.1 + 0.2), line("b", losses={"answer": 1.5})]
    for result in results:
        run.append(result)
    assert list(run.results()) == results
    assert (run.path / "results.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("cut", [1, 5, 17])
def test_a_torn_last_line_is_dropped_and_the_rest_kept(run, cut):
    run.append(line("a"))
    run.append(line("b"))
    file = run.path / "results.jsonl"
    os.truncate(file, file.stat().st_size - cut)
    assert ids(RunDirectory.open(run.path)) == ["a"]
    again = RunDirectory.resume(run.path, DESCRIPTION)
    again.append(line("c"))
    assert ids(again) == ["a", "c"]
    assert again.damage == []  # it is what a kill leaves


def test_a_torn_first_line_is_dropped(run):
    (run.path / "results.jsonl").write_text('{"id": ')
    again = RunDirectory.resume(run.path, DESCRIPTION)
    assert (run.path / "results.jsonl").read_bytes() == b""
    assert list(again.results()) == []


def test_a_run_killed_right_after_its_description_goes_on(run):
    for path in (run.path / "results.jsonl", run.path / "sessions.json"):
        path.unlink()
    (run.path / "content").rmdir()
    run = RunDirectory.resume(run.path, DESCRIPTION)
    assert list(run.results()) == []
    run.save_contents({"a": torch.zeros(1, 2)}, {}, "prefix")
    run.append(line("a"))
    assert ids(run) == ["a"]


def test_another_experiment_is_refused_and_the_field_named(run):
    other = {**DESCRIPTION, "slots": 3}
    with pytest.raises(RunDirectoryError, match=r"another experiment.*slots was 2, now it is 3"):
        RunDirectory.resume(run.path, other)
    with pytest.raises(RunDirectoryError, match=r"dataset\.name was"):
        RunDirectory.resume(run.path, {**DESCRIPTION, "dataset": {"name": "y"}})
    with pytest.raises(RunDirectoryError, match="seed was null, now it is 5"):
        RunDirectory.resume(run.path, {**DESCRIPTION, "seed": 5})


def test_other_versions_and_commits_are_the_same_experiment(run):
    other = {**DESCRIPTION, "versions": {"torch": "2"}, "git_commit": None}
    RunDirectory.resume(run.path, other).close()


def test_folders_that_are_taken_are_refused(run, tmp_path):
    with pytest.raises(RunDirectoryError, match=r"holds a run already.*--resume"):
        RunDirectory.create(run.path, DESCRIPTION)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(RunDirectoryError, match="not empty and no run"):
        RunDirectory.create(tmp_path / "other", DESCRIPTION)
    with pytest.raises(RunDirectoryError, match="no folder"):
        RunDirectory.create(tmp_path / "other" / "notes.txt", DESCRIPTION)


def test_what_is_no_run_cannot_be_opened(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"no experiment\.json"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunDirectoryError, match="no such folder"):
        RunDirectory.resume(tmp_path / "missing", DESCRIPTION)


def test_contents_come_back_bit_for_bit(run):
    first = {"a/b": torch.randn(2, 3), "": torch.randn(2, 3)[:, :3]}
    second = {"a/b": torch.randn(2, 3), "ü": torch.randn(4, 3).T[:2, :3]}
    mode = torch.randn(3)
    run.save_contents(first, {"question": mode, "answer": mode}, "prefix")
    old = run.ref("a/b")
    run.save_contents(second, {"question": mode}, "prefix")
    refs = [run.ref("ü"), run.ref(""), old, run.ref("a/b")]
    expected = [second["ü"], first[""], first["a/b"], second["a/b"]]
    for found, wanted in zip(run.load_contents(refs), expected, strict=True):
        assert torch.equal(found, wanted)
    assert run.load_contents([]) == []


def test_a_resumed_run_writes_beside_the_contents_that_are_there(run):
    run.save_contents({"a": torch.zeros(1, 2)}, {}, "prefix")
    ref = run.ref("a")
    (run.path / "content" / "00001.safetensors.tmp").write_bytes(b"torn")
    again = RunDirectory.resume(run.path, DESCRIPTION)
    again.save_contents({"a": torch.ones(1, 2)}, {}, "prefix")
    assert again.ref("a") != ref
    assert [each.sum().item() for each in again.load_contents([ref, again.ref("a")])] == [0, 2]


def test_each_curve_is_there_once_and_the_last_one_wins(run):
    run.save_curves(curve("a", 3.0, 2.0) + curve("b", 5.0))
    run.save_curves([])
    run.save_curves(curve("a", 3.0, 2.0, 1.0))
    run.finish({"done": 1})
    assert curves(run) == {"a": [3.0, 2.0, 1.0], "b": [5.0]}
    assert json.loads((run.path / "summary.json").read_text()) == {"done": 1}
    left = {file.name for file in run.path.iterdir()}
    assert left == {*WHOLE, "sessions.json"}


def test_a_finished_run_that_goes_on_keeps_its_curves(run):
    run.save_curves(curve("a", 3.0))
    run.finish({})
    again = RunDirectory.resume(run.path, DESCRIPTION)
    again.save_curves(curve("b", 5.0))
    again.finish({})
    again.close()
    assert curves(run) == {"a": [3.0], "b": [5.0]}
    RunDirectory.resume(run.path, DESCRIPTION).finish({})
    assert curves(run) == {"a": [3.0], "b": [5.0]}


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_run_killed_while_it_joins_its_curves_loses_none(run, removed):
    """After the joined file was written, and before all of the parts were removed."""
    for id in "abc":
        run.save_curves(curve(id, 1.0))
    parts = {file: file.read_bytes() for file in sorted(run.path.glob("curves.*.part"))}
    run.finish({})
    for file, content in list(parts.items())[removed:]:
        file.write_bytes(content)
    again = RunDirectory.resume(run.path, DESCRIPTION)
    again.finish({})
    assert curves(run) == {"a": [1.0], "b": [1.0], "c": [1.0]}


def test_a_run_without_curves_can_finish(run):
    run.finish({})
    assert not (run.path / "curves.parquet").exists()


def test_numbers_that_json_cannot_say_are_refused_before_anything_is_written(run):
    run.append(line("a"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append(line("b", margin=float("nan")))
    assert ids(run) == ["a"]


def test_a_run_has_a_key_of_its_own_that_stays(tmp_path):
    """Also among runs that one process begins within a second."""
    keys = []
    for name in ("one", "two", "three"):
        with RunDirectory.create(tmp_path / name, DESCRIPTION) as run:
            keys.append(run.key)
    assert len(set(keys)) == 3
    with RunDirectory.claim(tmp_path / "one", resume=True) as again:
        again.go_on(DESCRIPTION, {})
        assert again.key == keys[0]
