"""`dcm run`: what it leaves and what it says."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dcm.testing.doubles import TinyGenerator, save_tiny_model


def test_a_run_leaves_its_folder_and_ends_with_a_table(run) -> None:
    done = run("--out", "one")
    assert done.exit_code == 0, done.stderr
    assert {each.name for each in Path("one").iterdir()} >= {
        "experiment.json",
        "results.jsonl",
        "summary.json",
        "content",
    }
    assert all(len(line.rstrip()) <= 80 for line in done.stdout.splitlines())
    for figure in (
        r"examples +3\n",
        r"converged +3 of 3, 100\.0 %\n",
        r"exact +3 of 3, 100\.0 %\n",
        r"certified +3 of 3, 100\.0 %\n",
        r"steps +[\d.]+ median, [\d.]+ at the 90th percentile",
        r"greedy-decode +pass 100\.0 %, partial 0\.0 %, fail 0\.0 %\n",
        r"task +of the answer alone: exact match 100\.0 %, f1 100\.0 %\n",
        r"speed +[\d.,]+ row-steps/s, [\d.]+ % useful\n",
        r"wall time +[\d.]+ s\n",
        r"ran on +cpu, float32, 3 lanes, [\d.]+ [MG]iB",
        r"run +one\n",
    ):
        assert re.search(figure, re.sub(r" +\n", "\n", done.stdout)), (figure, done.stdout)


def test_progress_goes_to_stderr_first_and_last(run) -> None:
    lines = run("--out", "one").stderr.splitlines()
    assert lines[0] == "loading tiny and toy"
    assert lines[1] == "0/3 done, starting"
    assert lines[-1] == "3/3 done"


def test_json_prints_the_summary_and_nothing_else(run) -> None:
    done = run("--out", "one", "--json")
    printed = json.loads(done.stdout)
    assert printed.pop("out") == "one"
    assert printed == json.loads(Path("one/summary.json").read_text())
    assert "3/3 done" in done.stderr


def test_without_out_it_is_a_new_folder_with_the_names_and_the_time(run) -> None:
    outs = [json.loads(run("--json").stdout)["out"] for _ in range(2)]
    assert len(set(outs)) == 2
    assert all(re.fullmatch(r"runs/toy-tiny-\d{8}-\d{6}(-\d+)?", out) for out in outs)
    assert all((Path(out) / "summary.json").exists() for out in outs)


def test_without_anything_it_is_the_main_job(command) -> None:
    done = command(
        "run", "--no-track", "--set", "dataset.limit=2", "--set", "slots=8", "--out", "main"
    )
    assert done.exit_code == 0, done.stderr
    experiment = json.loads(Path("main/experiment.json").read_text())
    names = {
        key: experiment[key]["name"]
        for key in ("generator", "dataset", "objective", "optimizer", "criterion")
    }
    assert names == {
        "generator": "nano",
        "dataset": "samples",
        "objective": "joint",
        "optimizer": "restarts",
        "criterion": "exact",
    }
    assert [each["name"] for each in experiment["evaluators"]] == ["greedy-decode"]
    assert re.search(r"certified +2 of 2", done.stdout)


def test_the_experiment_of_a_run_gives_the_same_run(run, command, read_results) -> None:
    assert run("--seed", "4", "--out", "one").exit_code == 0
    again = command("run", "one/experiment.json", "--no-track", "--out", "two")
    assert again.exit_code == 0, again.stderr
    assert read_results("one") == read_results("two")
    other = command("run", "one/experiment.json", "--seed", "5", "--no-track", "--out", "three")
    assert other.exit_code == 0, other.stderr
    assert read_results("one") != read_results("three")


def test_a_model_on_disk(run, read_results) -> None:
    save_tiny_model("models/tiny one")
    done = run("--generator", "transformers", "--set", "generator.model=models/tiny one")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"certified +3 of 3", done.stdout)


def test_examples_that_are_left_out_and_those_that_fail_are_told(run) -> None:
    record = {"question": "What is it?", "answer": "x"}
    lines = [{**record, "id": "a"}, {"id": "b"}, {**record, "id": "c", "answer": "x" * 300}]
    Path("own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen = ["--dataset", "jsonl", "--set", "dataset.path=own.jsonl"]
    skip = ["--set", "dataset.on_error=skip", "--set", "on_error=skip"]
    done = run(*chosen, *skip, toy=False)
    assert done.exit_code == 0, done.stderr
    told = r"examples +2; left out: 1 malformed; failed: 1 too long for the model"
    assert re.search(told, done.stdout)
    assert re.search(r"certified +1 of 2, 50\.0 %", done.stdout)
    assert re.search(r"others +1 FAILED", done.stdout)


@contextmanager
def failing_after_an_example(error: BaseException) -> Iterator[None]:
    """The model raises an error as soon as an example of the run in `one` is finished."""
    plain = TinyGenerator.score

    def score(self, content, strands):
        if Path("one/results.jsonl").exists() and Path("one/results.jsonl").read_text():
            raise error
        return plain(self, content, strands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyGenerator, "score", score)
        yield


def test_an_interrupted_run_says_how_to_go_on_and_ends_as_any_other(
    run, command, read_results
) -> None:
    assert run("--set", "lanes=1", "--out", "whole").exit_code == 0
    with failing_after_an_example(KeyboardInterrupt()):
        done = run("--set", "lanes=1", "--out", "one")
    assert done.exit_code == 130
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Interrupted. ")
    assert last.endswith(" dcm run --out one --resume --no-track")
    assert 0 < len(read_results("one")) < 3
    done = command(*last.partition("go on with: dcm ")[2].split())
    assert done.exit_code == 0, done.stderr
    assert read_results("one") == read_results("whole")
    assert re.search(r"certified +3 of 3", done.stdout)


def test_interrupted_before_it_began_it_leaves_nothing(run, monkeypatch) -> None:
    def encode(self, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(TinyGenerator, "encode", encode)
    done = run("--out", "one")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "Interrupted. Nothing was written."
    assert not Path("one").exists()


def test_an_unexpected_error_is_one_line(run) -> None:
    with failing_after_an_example(RuntimeError("kernel\nfailed")):
        done = run("--set", "lanes=1", "--out", "one")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: RuntimeError: kernel failed")
    assert "--debug" in last
    assert "dcm run --out one --resume" in last


def test_debug_shows_the_traceback(run) -> None:
    with failing_after_an_example(RuntimeError("kernel failed")):
        done = run("--set", "lanes=1", "--out", "one", "--debug")
    assert done.exit_code == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: RuntimeError: kernel failed")


# Where pytest runs in the background SIGINT is ignored, and its children inherit that.
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from dcm.cli import main; main()"
)


def test_control_c(tmp_path: Path) -> None:
    save_tiny_model("model")
    arguments = ["--generator", "transformers", "--set", "generator.model=model", "--no-track"]
    never = ["--set", "criterion.margin=1000", "--set", "max_steps=100000", "--out", "one"]
    one = ["--set", "dataset.limit=1", "--set", "slots=2", "--set", "baseline_draws=0"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", *arguments, *never, *one],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("0/1 done"):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("Interrupted. What is finished is kept; go on with: ")
