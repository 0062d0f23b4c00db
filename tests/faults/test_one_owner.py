"""A run directory has one writer at a time, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dcm import DcmError, RunDirectoryError
from dcm.running.lock import LOCK, Lock
from dcm.running.run_directory import RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from dcm.running.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path: Path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_told_who_where_and_since_when(owner, tmp_path) -> None:
    told = rf"in use.*Process {owner.pid} on \S+ works in it since \d{{4}}-\d\d-\d\d .* UTC"
    with pytest.raises(RunDirectoryError, match=told) as caught:
        Lock(tmp_path)
    assert "which is this process" not in str(caught.value)
    owner.send_signal(signal.SIGSTOP)  # as one whose machine hangs
    with pytest.raises(RunDirectoryError, match="in use"):
        Lock(tmp_path)


def test_a_killed_owner_leaves_nothing_to_clean_up(owner, tmp_path) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    lock = Lock(tmp_path)
    with pytest.raises(RunDirectoryError, match="which is this process"):
        Lock(tmp_path)
    lock.release()
    assert not (tmp_path / LOCK).exists()
    Lock(tmp_path).release()


def test_a_resume_beside_a_living_run_is_refused_and_readers_are_not(experiment, tmp_path) -> None:
    with RunDirectory.claim(tmp_path / "run") as held:
        with pytest.raises(RunDirectoryError, match="in use"):
            experiment.run(tmp_path / "run")
        held.begin({"slots": 2})
        with pytest.raises(RunDirectoryError, match="in use"):
            experiment.run(tmp_path / "run", resume=True)
        assert list(RunDirectory.open(tmp_path / "run").results()) == []


def test_a_run_that_did_not_begin_leaves_no_folder(experiment, tmp_path, monkeypatch) -> None:
    def encode(self, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(experiment.generator), "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path / "some" / "where" / "deep")
    assert not (tmp_path / "some").exists()


def test_a_file_system_without_locks_is_told_of(experiment, tmp_path, monkeypatch) -> None:
    import fcntl

    def flock(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    told: list[str] = []
    experiment.run(tmp_path / "run", warn=told.append)
    (line,) = told
    assert "not protected from a second writer: its file system has no locks" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is refused to root")
def test_a_folder_that_cannot_be_written_to_is_found_before_the_model_is_loaded(
    experiment, tmp_path, monkeypatch
) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DcmError, match="Permission is denied"):
            experiment.run(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x" * 300, "The name is too long. Choose a shorter one"),
        ("file/run", "A part of the path is a file, no folder"),
        ("loop/run", "lead round in a circle"),
        ("a\udc80", "no UTF-8 text"),
    ],
)
def test_paths_that_the_system_refuses_are_a_sentence(experiment, tmp_path, name, told) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for resume in (False, True):
        with pytest.raises(DcmError) as caught:
            experiment.run(tmp_path / name, resume=resume)
        assert told in str(caught.value) or "no such folder" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_a_sentence_and_nothing_is_lost(
    experiment, tmp_path, monkeypatch, read_run
) -> None:
    experiment.run(tmp_path / "whole")
    append, count = RunDirectory.append, 0

    def full(self, result):
        nonlocal count
        count += 1
        if count == 4:
            real, self.path = self.path, tmp_path / "full"
            self.path.mkdir()
            (self.path / "results.jsonl").symlink_to("/dev/full")
            try:
                append(self, result)
            finally:
                self.path = real
        append(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", full)
        with pytest.raises(DcmError, match=r"The disk is full\. Free some space, then go on"):
            experiment.run(tmp_path / "run")
    assert experiment.run(tmp_path / "run", resume=True)["finished"] == 6
    assert read_run(tmp_path / "run") == read_run(tmp_path / "whole")
