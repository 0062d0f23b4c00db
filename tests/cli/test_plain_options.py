"""What people type: plain options, names without a kind, plurals, a run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dcm


def description(folder: str) -> dict[str, object]:
    return json.loads((Path(folder) / "experiment.json").read_text())  # type: ignore[no-any-return]


def test_plain_options_are_fields(run) -> None:
    plain = ["--max-steps", "40", "--lanes", "2", "--seed", "3"]
    assert run(*plain, "--out", "one").exit_code == 0
    sets = ["max_steps=40", "lanes=2", "seed=3"]
    by_set = [part for each in sets for part in ("--set", each)]
    assert run(*by_set, "--out", "two").exit_code == 0
    one, two = description("one"), description("two")
    assert (one["max_steps"], one["lanes"], one["seed"]) == (40, 2, 3)
    assert {**one, "versions": None} == {**two, "versions": None}


def test_the_number_of_slots_and_examples(command) -> None:
    few = ["--slots", "4", "--limit", "1", "--max-steps", "1", "--no-track"]
    assert command("run", *few, "--dtype", "bfloat16", "--out", "one").exit_code == 0
    found = description("one")
    assert found["slots"] == 4
    assert found["dataset"]["params"]["limit"] == 1  # type: ignore[index]
    assert found["generator"]["params"]["dtype"] == "bfloat16"  # type: ignore[index]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--slots", "0"], "slots = 0"),
        (["--slots", "many"], "slots = many"),
        (["--limit", "no"], "dataset.limit = no"),
        (["--dtype", "int4"], "dtype must be"),
        (["--lanes", "-1"], "lanes = -1"),
    ],
)
def test_a_wrong_value_is_told_by_its_field(command, option: list[str], told: str) -> None:
    done = command("run", "--no-track", *option)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_limit_of_what_wraps_another_is_told_its_place(command) -> None:
    wrapped = ["--dataset", "shuffled", "--set", "dataset.dataset=samples", "--no-track"]
    for limit in (["--limit", "3"], ["--set", "dataset.limit=3"]):
        done = command("run", *wrapped, *limit)
        assert done.exit_code == 2
        assert "Did you mean 'dataset.dataset.limit'?" in done.stderr


def test_a_runs_folder_stands_for_its_experiment(run, command) -> None:
    assert run("--out", "one").exit_code == 0
    assert command("run", "one", "--no-track", "--out", "two").exit_code == 0
    assert {**description("one"), "versions": None} == {**description("two"), "versions": None}


def test_a_kind_may_be_left_out_or_be_a_plural(command) -> None:
    assert command("show", "adam").stdout == command("show", "optimizer", "adam").stdout
    assert command("show", "optimizers", "adam").exit_code == 0
    for plural in ("datasets", "criteria", "Optimizers"):
        assert command("list", plural).exit_code == 0
    assert command("list", "datasets").stdout == command("list", "dataset").stdout
    for wrong, told in (("adamm", "Did you mean 'adam'?"), ("datasets", "dcm list dataset")):
        done = command("show", wrong)
        assert done.exit_code == 2
        assert told in done.stderr


def test_what_an_optimiser_chooses_is_shown(command) -> None:
    chosen = dcm.find("optimizer", "adam")().chosen(32)
    assert f"lr {chosen['lr']:.4g}" in command("show", "adam").stdout
    shown = json.loads(command("show", "adam", "--json").stdout)["chosen"]
    assert shown == {"slots": 32, **chosen}


def test_python_m_dcm() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dcm", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"dcm {dcm.__version__}\n"


def test_where_a_run_is_tracked_is_told_at_the_start(run) -> None:
    lines = run("--out", "one", track=True).stderr.splitlines()
    assert lines[:1] == ["loading tiny and toy"]
    assert lines[1] == f"tracking in mlflow.db and mlartifacts in {Path.cwd()} (--no-track: do not)"


def test_how_a_table_was_read_is_told(command) -> None:
    Path("pairs.csv").write_bytes("Frage;answer\nWas heißt Straße?;street\n".encode("cp1252"))
    table = ["--dataset", "csv", "--set", "dataset.path=pairs.csv", "--device", "cpu"]
    table += ["--set", "dataset.question=frage"]
    done = command("run", *table, "--max-steps", "1", "--no-track", "--out", "one")
    assert done.exit_code == 0
    told = "pairs.csv: encoding cp1252, semicolons between columns"
    assert told in done.stderr
    assert told in " ".join(done.stdout.split())
    assert json.loads(Path("one/summary.json").read_text())["remarks"] == [told]
