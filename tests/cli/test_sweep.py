"""`dcm sweep`: a grid that goes on, amends, and isolates what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dcm import UsageError
from dcm.cli.sweeping import split_values

TOY = ["--set", "generator=tiny", "--set", "dataset=toy", "--set", "dataset.count=3"]
# Nothing here depends on how far a cell comes.
FEW = ["--set", "max_steps=3", "--set", "optimizer.count=1"]


@pytest.fixture
def sweep(command):
    """Calls `dcm sweep` on three toy examples and the tiny model for a few steps, untracked."""

    def call(*arguments: str, steps: list[str] = FEW):
        return command("sweep", *TOY, *steps, "--no-track", "--out", "grid", *arguments)

    return call


def cells() -> list[str]:
    return sorted(path.parent.name for path in Path("grid").glob("*/summary.json"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2", ["1", "2"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ('{name="x",params={a=1,b=2}},y', ['{name="x",params={a=1,b=2}}', "y"]),
        ("one", ["one"]),
        ("2,2", ["2"]),
    ],
)
def test_commas_part_values_but_not_within_brackets_or_quotes(text, values) -> None:
    assert split_values(text) == values


def test_an_empty_value_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        split_values("1,,2")


def test_every_combination_is_a_run_and_a_line_of_the_table(sweep) -> None:
    done = sweep("--set", "slots=4,8", "--set", "seed=0,1")
    assert done.exit_code == 0, done.stderr
    assert cells() == [f"slots={k},seed={s}" for k in (4, 8) for s in (0, 1)]
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["slots", "seed", "pairs"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        [k, s] for k in ("4", "8") for s in ("0", "1")
    ]
    assert all(len(line) <= 80 for line in lines)
    assert Path("grid/sweep.png").stat().st_size > 1000


def test_the_same_command_does_nothing_again_and_other_values_amend(sweep) -> None:
    sweep("--set", "slots=4,8")
    before = {path: path.stat().st_mtime_ns for path in Path("grid").glob("*/results.jsonl")}
    again = sweep("--set", "slots=4,8", "--json")
    assert again.exit_code == 0, again.stderr
    assert [row["slots"] for row in json.loads(again.stdout)] == [4, 8]
    amended = sweep("--set", "slots=6", "--json")
    assert [row["slots"] for row in json.loads(amended.stdout)] == [4, 6, 8]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_new_axis_keeps_the_cells_that_are_there(sweep) -> None:
    sweep("--set", "slots=4,8", "--set", "seed=0")
    amended = sweep("--set", "slots=4,8", "--set", "seed=0,1", "--json")
    assert amended.exit_code == 0, amended.stderr
    rows = [(row["slots"], row["seed"]) for row in json.loads(amended.stdout)]
    assert rows == [(4, 0), (4, 1), (8, 0), (8, 1)]
    assert cells() == ["slots=4", "slots=4,seed=1", "slots=8", "slots=8,seed=1"]


def test_another_sweep_in_its_folder_is_refused(sweep) -> None:
    sweep("--set", "slots=4,8")
    done = sweep("--set", "slots=4,8", steps=["--set", "max_steps=7", *FEW[2:]])
    assert done.exit_code == 2
    assert "max_steps" in done.stderr


def test_a_cell_that_fails_is_told_and_the_others_go_on(sweep) -> None:
    done = sweep("--set", "slots=4,100000,8", "--json")
    assert done.exit_code == 1
    rows = {row["slots"]: row for row in json.loads(done.stdout)}
    assert {k: row["state"] for k, row in rows.items()} == {4: "done", 8: "done", 100000: "failed"}
    assert "does not fit" in rows[100000]["error"]
    assert "slots=100000 failed" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "without a list"),
        (["--set", "slots=4"], "without a list"),
        (["--set", "slot=4,8"], "Did you mean 'slots'"),
        (["--set", "slots=4,x"], "whole number"),
        (["--set", "slots=4,0"], "whole number"),
        (["--set", "slots=4,8", "--set", "slots=9"], "twice"),
    ],
)
def test_bad_usage_is_told_before_anything_is_written(sweep, options, said) -> None:
    done = sweep(*options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not Path("grid").exists()


def test_a_folder_with_something_else_is_refused(sweep) -> None:
    Path("grid").mkdir()
    Path("grid/mine").write_text("x")
    done = sweep("--set", "slots=4,8")
    assert done.exit_code == 2
    assert "no sweep" in done.stderr


def test_a_killed_sweep_goes_on(python: str) -> None:
    command = [python, "-m", "dcm", "sweep", "--set", "slots=2,4,8", "--no-track"]
    command += ["--set", "dataset.limit=4", "--set", "max_steps=15", "--out", "grid", "--json"]
    command += ["--set", "optimizer.count=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    while not list(Path("grid").glob("*/results.jsonl")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["slots"], row["state"], row["pairs"]) for row in rows] == [
        (k, "done", 4) for k in (2, 4, 8)
    ]
