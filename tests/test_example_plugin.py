"""The example plugin, installed as a user would install it, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dcm.testing.doubles import save_tiny_model

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "dcm-example-plugin"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, python: str) -> Run:
    """Runs Python in a folder that holds a copy of the example and a tiny model, with the example
    installed."""
    folder = tmp_path_factory.mktemp("example")
    built = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".*")
    shutil.copytree(EXAMPLE, folder / "source", ignore=built)
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def run(*arguments: str, status: int = 0, by: str = python) -> str:
        done = subprocess.run(
            [by, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run("-m", "pip", *install, "--disable-pip-version-check", "--target", "site", "./source")
    save_tiny_model(folder / "tiny")
    return run


def dcm(run: Run, *arguments: str, status: int = 0) -> str:
    return run("-c", "from dcm.cli import main; main()", *arguments, status=status)


def test_its_components_are_listed_beside_the_bundled_ones(run: Run) -> None:
    listed = json.loads(dcm(run, "list", "--json"))
    assert not listed["problems"]
    own = [
        (each["kind"], each["name"], each["version"])
        for each in listed["components"]
        if each["distribution"] == "dcm-example-plugin"
    ]
    assert own == [("dataset", "number-words", "0.1.0"), ("objective", "decayed", "0.1.0")]
    assert "all good" in dcm(run, "check")


def test_it_runs_from_a_command_to_a_certified_result(run: Run) -> None:
    chosen = ["--generator", "transformers", "--set", "generator.model=./tiny"]
    chosen += ["--set", "generator.device=cpu", "--set", "slots=16"]
    chosen += ["--dataset", "number-words", "--set", "dataset.count=2"]
    chosen += ["--objective", "decayed", "--set", "objective.decay=0.0001"]
    told = json.loads(dcm(run, "run", *chosen, "--no-track", "--json", "--out", "run"))
    assert told["finished"] == 2
    assert told["certified_rate"] == 1.0
    assert told["evaluations"]["task"] == {"right": 1.0}


def test_its_own_tests_pass(run: Run) -> None:
    # Whatever the tests around it were told is not for these.
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    told = run("-m", "pytest", *options, "source/tests", by=sys.executable)
    assert " passed" in told
