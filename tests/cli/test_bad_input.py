"""Bad input: one clear message, the right exit status, and nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcm.testing.doubles import save_tiny_model

SQUAD = ("--dataset", "squad", "--set")
TINY = ("--generator", "tiny", "--dataset", "toy")


def files() -> None:
    """What the arguments name."""
    Path("half.json").write_text('{"data": [')
    record = {"id": "q1", "answers": [{"text": "me"}]}
    broken = {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [record]}]}]}
    Path("broken.json").write_text(json.dumps(broken))
    Path("empty.json").write_text('{"data": []}')
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    save_tiny_model("bare")
    for weights in Path("bare").glob("*.safetensors"):
        weights.unlink()
    Path("list.json").write_text("[]")
    Path("comma.json").write_text('{"slots": 3,}')
    Path("unknown.json").write_text('{"slotz": 3}')
    Path("name.json").write_text('{"dataset": "toy"}')
    Path("null.json").write_text('{"dataset": null}')
    Path("params.json").write_text('{"dataset": {"kind": "dataset", "name": "toy", "params": []}}')
    Path("kind.json").write_text('{"dataset": {"kind": "generator", "name": "tiny"}}')


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--dataset", "sqad"], 2, ["no dataset 'sqad'", "Did you mean 'squad'?"]),
        (["--evaluator", "greedy"], 2, ["no evaluator 'greedy'"]),
        ([*SQUAD, "dataset.path=away.json"], 1, ["away.json"]),
        ([*SQUAD, "dataset.path=half.json"], 1, ["half.json:1", "JSON"]),
        (
            [*SQUAD, "dataset.path=broken.json"],
            1,
            ["broken.json: data[0].paragraphs[0].qas[0]", "'q1'", "'question'"],
        ),
        ([*SQUAD, "dataset.path=empty.json"], 1, ["empty"]),
        (["--set", "dataset.offset=100000"], 1, ["empty"]),
        ([*SQUAD, "dataset.limit=3"], 2, ["path", "hub", "--set dataset."]),
        (["--dataset", "jsonl"], 2, ["dataset 'jsonl' needs path", "--set dataset.path="]),
        (["--generator", "transformers"], 2, ["needs model", "--set generator.model="]),
        (["--set", "slots=0"], 2, ["slots = 0"]),
        ([*TINY, "--set", "slots=250"], 2, ["toy-0", "does not fit", "256"]),
        (["--set", "dataset.limt=3"], 2, ["'dataset.limt'", "Did you mean 'dataset.limit'?"]),
        (["--set", "optimizer.lr=1"], 2, ["optimizer.count", "Did you mean 'optimizer.inner.lr'?"]),
        (["--set", "datset.limit=1"], 2, ["'datset'", "Did you mean 'dataset.limit'?"]),
        (["--set", "dataset.limit.most=3"], 2, ["dataset.limit is a value"]),
        (["--set", "dataset.limit=many"], 2, ["dataset.limit = many", "a whole number or none"]),
        (["--set", "max_steps=1.5"], 2, ["max_steps = 1.5", "a whole number"]),
        (["--set", "slots=none"], 2, ["slots = none", "a whole number"]),
        (["--set", "dataset=3"], 2, ["no dataset '3'"]),
        (["--set", "dataset=[1]"], 2, ["dataset = [1]", "name of a dataset"]),
        (["--set", "optimizer.inner=adan"], 2, ["no optimizer 'adan'", "Did you mean 'adam'?"]),
        (["--set", "optimizer.inner.lr=-1"], 2, ["'adam'", "lr", "--set optimizer.inner."]),
        (["--set", "evaluators.3.partial=1"], 2, ["'evaluators.3.partial'", "a list of 1"]),
        (["--set", "layout=around"], 2, ["layout", "prefix", "suffix"]),
        (["--set", "slots"], 2, ["--set slots", "key=value"]),
        (["--set", "slots="], 2, ["--set slots=", "key=value"]),
        (["--dataset", "shuffled"], 2, ["needs dataset", "--set dataset.dataset="]),
        (
            ["--dataset", "shuffled", "--set", "dataset.dataset.limit=1"],
            2,
            ["dataset.dataset is not chosen", "--set dataset.dataset=NAME"],
        ),
        (["--no-track", "--set", "tracker.uri=x"], 2, ["--no-track"]),
        (["--set", "tracker.uri=nowhere"], 2, ["nowhere"]),
        (["--set", "tracker=mlflaw"], 2, ["no tracker 'mlflaw'", "Did you mean 'mlflow'?"]),
        (
            ["--generator", "transformers", "--set", "generator.model=./away"],
            1,
            ["./away", "no such folder"],
        ),
        (["--generator", "transformers", "--set", "generator.model=./bare"], 1, ["/bare'"]),
        (["--resume"], 2, ["--resume", "--out"]),
        (["away.json"], 2, ["away.json is no experiment"]),
        (["."], 2, [". is no experiment", "folder"]),
        (["list.json"], 2, ["list.json is no experiment"]),
        (["comma.json"], 2, ["comma.json is no experiment", "line 1"]),
        (["unknown.json"], 2, ["'slotz'", "Did you mean 'slots'?"]),
        (["name.json"], 2, ["dataset is no dataset", '"toy"']),
        (["kind.json"], 2, ["dataset is no dataset"]),
        (["null.json"], 2, ["dataset is no dataset", "null"]),
        (["params.json"], 2, ["dataset is no dataset"]),
        (["params.json", "--set", "dataset.limit=1"], 2, ["dataset is not chosen"]),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    command, arguments: list[str], status: int, told: list[str]
) -> None:
    files()
    before = sorted(Path().rglob("*"))
    done = command("run", *arguments)
    assert done.exit_code == status, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("loading ")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("Error: ")
    for part in told:
        assert part in errors[0]
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "full"], "full cannot take a run"),
        (["--out", "full/notes.txt"], "full/notes.txt cannot take a run"),
        (["--out", "full", "--resume"], "full is no run"),
        (["--out", "away", "--resume"], "away is no run"),
    ],
)
def test_a_folder_that_cannot_take_the_run(command, arguments: list[str], told: str) -> None:
    files()
    before = sorted(Path().rglob("*"))
    done = command("run", *TINY, *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {told}")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_a_run_is_not_overwritten_and_not_continued_as_another(run) -> None:
    assert run("--out", "one").exit_code == 0
    before = {each: each.read_bytes() for each in Path("one").rglob("*") if each.is_file()}
    again = run("--out", "one")
    assert again.exit_code == 2
    assert "one holds a run already" in again.stderr
    assert "--resume" in again.stderr
    other = run("--out", "one", "--resume", "--seed", "7")
    assert other.exit_code == 2
    assert "seed was 0, now it is 7" in other.stderr
    assert before == {each: each.read_bytes() for each in Path("one").rglob("*") if each.is_file()}


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--seed", "x"], ["a", "b"]])
def test_what_the_parser_refuses_is_bad_usage(command, arguments: list[str]) -> None:
    done = command("run", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("Error: ")
