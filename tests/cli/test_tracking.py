"""How a run is tracked, and that tracking never stops it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dcm

HINT = "To look further: look at the recorder"


@pytest.fixture
def told() -> list[str]:
    """What the recorder was told last."""
    recorder = dcm.find("tracker", "recorder")
    recorder.told.clear()
    return recorder.told


def test_a_chosen_tracker_is_told_and_its_hint_closes(run, told: list[str]) -> None:
    done = run("--set", "tracker=recorder", "--out", "one", track=True)
    assert done.exit_code == 0, done.stderr
    assert told == ["start one toy memory", "finish done"]
    assert done.stdout.splitlines()[-1] == HINT


def test_json_has_no_hint(run, told: list[str]) -> None:
    done = run("--set", "tracker=recorder", "--json", track=True)
    assert told
    assert done.stdout.endswith("}\n")


@pytest.mark.parametrize("uri", ["broken", "breaking"])
def test_a_tracker_that_fails_is_warned_of(run, told: list[str], uri: str) -> None:
    done = run("--set", "tracker=recorder", "--set", f"tracker.uri={uri}", track=True)
    assert done.exit_code == 0, done.stderr
    assert told[0].endswith(uri)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert warnings
    assert all("the store" in line for line in warnings)
    assert re.search(r"certified +3 of 3", done.stdout)
    assert HINT not in done.stdout


def test_mlflow_that_is_not_installed_is_warned_of(run, no_mlflow: None) -> None:
    done = run(track=True)
    assert done.exit_code == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert "not tracked" in warning
    assert "mlflow" in warning
    assert re.search(r"certified +3 of 3", done.stdout)


@pytest.mark.filterwarnings("ignore")  # what MLflow uses is MLflow's affair
def test_mlflow_is_the_default_and_its_fields_are_set(run) -> None:
    done = run("--set", "tracker.uri=sqlite:///tracked/here.db", "--out", "one", track=True)
    assert done.exit_code == 0, done.stderr
    assert "Warning" not in done.stderr
    assert Path("tracked/here.db").exists()
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout.splitlines()[-1]


def test_an_interrupted_run_is_resumed_with_its_tracker(run, told: list[str], monkeypatch) -> None:
    def score(self, content, strands):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dcm.find("generator", "tiny"), "score", score)
        done = run("--set", "tracker=recorder", "--out", "a b", track=True)
    assert done.exit_code == 130
    assert told[-1] == "finish failed"
    assert done.stderr.endswith(
        " go on with: dcm run --out 'a b' --resume --set tracker=recorder\n"
    )
