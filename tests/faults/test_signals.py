"""Real processes, real signals, a server that never answers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

# Where pytest runs in the background SIGINT is ignored, and its children inherit that.
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
MAIN = f"{HEARS}from dcm.cli import main; main()"
ENDLESS = ["--set", "criterion.margin=1000", "--set", "max_steps=100000", "--set", "slots=2"]
ENDLESS += ["--set", "dataset.limit=1", "--set", "baseline_draws=0"]
SHORT = ["--set", "slots=8", "--set", "dataset.limit=1"]


@pytest.fixture(scope="module")
def dcm(python: str) -> list[str]:
    """What a command begins with."""
    return [python, "-c", MAIN]


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://user:geheim@127.0.0.1:{server.getsockname()[1]}"


def environment() -> dict[str, str]:
    mlflow = ("MLFLOW_", "PYTEST_")
    return {key: value for key, value in os.environ.items() if not key.startswith(mlflow)}


@pytest.mark.parametrize(
    ("sent", "status", "word"),
    [(signal.SIGTERM, 143, "Ended by SIGTERM. "), (signal.SIGINT, 130, "Interrupted. ")],
)
def test_a_signal_ends_a_run_whose_tracker_is_silent(
    tmp_path: Path, dcm: list[str], mute: str, sent: signal.Signals, status: int, word: str
) -> None:
    process = subprocess.Popen(
        [*dcm, "run", *ENDLESS, "--out", "one", "--set", f"tracker.uri={mute}"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("0/1 done"):
                break
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=200)
    finally:
        process.kill()  # whatever went wrong, nothing is left behind
    assert process.returncode == status
    last = stderr.splitlines()[-1]
    assert last.startswith(f"{word}What is finished is kept; go on with: dcm run --out one")
    assert "geheim" not in stderr
    assert "user:***@" in last
    assert not (tmp_path / "one" / "run.lock").exists()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_ended_by_a_signal_is_tracked_as_killed(
    tmp_path: Path, dcm: list[str], sent: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*dcm, "run", *ENDLESS, "--out", "one", "--set", "tracker.uri=sqlite:///told.db"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None and statuses(tmp_path / "told.db") != ["RUNNING"]:
            time.sleep(0.1)
        process.send_signal(sent)
        assert process.wait(timeout=200) == 128 + sent
    finally:
        process.kill()
    assert statuses(tmp_path / "told.db") == ["KILLED"]


def statuses(database: Path) -> list[str]:
    if not database.exists():
        return []
    with suppress(sqlite3.OperationalError), sqlite3.connect(database) as opened:
        return [status for (status,) in opened.execute("SELECT status FROM runs")]
    return []


def test_a_silent_server_costs_seconds_and_is_told_later(
    tmp_path: Path, dcm: list[str], mute: str
) -> None:
    done = subprocess.run(
        [*dcm, "run", *SHORT, "--out", "one", "--set", f"tracker.uri={mute}"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        timeout=250,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "waiting for the tracker, Ctrl-C leaves" in done.stderr
    assert "dcm track" in done.stderr
    assert "geheim" not in done.stderr + done.stdout
    later = subprocess.run(
        [*dcm, "track", "one", "--set", "tracker.uri=sqlite:///later.db"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        timeout=250,
        capture_output=True,
        check=False,
    )
    assert later.returncode == 0, later.stderr
    assert later.stdout.startswith("To look further: mlflow ui --backend-store-uri sqlite:///")
    with sqlite3.connect(tmp_path / "later.db") as database:
        assert list(database.execute("SELECT name, status FROM runs")) == [("one", "FINISHED")]
        query = "SELECT value FROM latest_metrics WHERE key = 'certified_rate'"
        assert list(database.execute(query)) == [(1.0,)]


def test_a_closed_pipe_does_not_end_a_run(tmp_path: Path, dcm: list[str]) -> None:
    run = f"{shlex.join([*dcm, 'run', '--no-track', '--out', 'one', *SHORT])} 2>&1 | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{run}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        timeout=250,
        capture_output=True,
        check=False,
    )
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["finished"] == 1
    assert done.returncode == 0
