"""`dcm ask`, `dcm calibrate`, `dcm generate` and `dcm export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner, Result

import dcm
from dcm.cli.app import app
from dcm.running.run_directory import RunDirectory

PAIRS = {
    "paris": ("What is the capital of France?", "Paris"),
    "hamlet": ("Who wrote Hamlet?", "Shakespeare"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "run"
    with RunDirectory.create(path, dcm.Experiment(slots=4).describe()):
        pass  # an empty run
    dcm.open(path).add(dcm.Example(each, *texts) for each, texts in PAIRS.items())
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "80"})


def test_ask_prints_the_answer_and_the_candidates(run: Path) -> None:
    done = call("ask", run, "what's the capital of france?")
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "Paris"
    assert any("hamlet" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)
    assert "dcm calibrate" in done.stdout


def test_ask_as_json(run: Path) -> None:
    form = json.loads(call("ask", run, "who wrote hamlet?", "--top", 1, "--json").stdout)
    assert (form["id"], form["text"], form["fits"], form["threshold"]) == (
        "hamlet",
        "Shakespeare",
        None,
        None,
    )
    assert [each["id"] for each in form["candidates"]] == ["hamlet"]


def test_a_calibrated_memory_says_that_none_fits(run: Path, tmp_path: Path) -> None:
    strangers = tmp_path / "strangers.txt"
    strangers.write_text("".join(f"How many {each}s sing?\n" for each in "abcdefghijklmnopqrstu"))
    done = call("calibrate", run, "--questions", strangers, "--false-answers", 0)
    assert done.exit_code == 0, done.output
    assert "Of 21 questions (given) 0.0% reach it" in done.stdout
    assert call("ask", run, "How many bs sing?").stdout.startswith("No memory fits.")
    (run / "memory/threshold.json").unlink()


def test_generate_prints_one_text_or_many(run: Path) -> None:
    assert call("generate", run, "paris").stdout == "Paris\n"
    assert sorted(call("generate", run).stdout.splitlines()) == [
        "hamlet\tShakespeare",
        "paris\tParis",
    ]
    line = json.loads(call("generate", run, "paris", "--mode", "question", "--json").stdout)
    assert line == {"id": "paris", "mode": "question", "text": PAIRS["paris"][0]}


def test_export_writes_what_it_says(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = call("export", run, "paris", "--out", out)
    assert done.stdout.startswith(f"1 prompt for the mode answer in {out}")
    with safe_open(out, framework="pt") as file:
        assert list(file.keys()) == ["paris"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ask", "nowhere", "who?"), "no such folder"),
        (("generate", "{run}", "rome"), "no item 'rome'"),
        (("export", "{run}", "--out", "x", "--format", "gguf"), "There is prompt-embeds"),
        (("calibrate", "{run}"), "at least 20"),
        (("calibrate", "{run}", "--questions", "nowhere.txt"), "nowhere.txt cannot be read"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run: Path, arguments, told: str) -> None:
    done = call(*(each.format(run=run) for each in arguments))
    assert done.exit_code in (1, 2)
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
