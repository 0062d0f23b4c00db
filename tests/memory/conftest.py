"""A memory of a few pairs, optimised once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dcm
from dcm.running.run_directory import RunDirectory

PAIRS = {
    "paris": ("What is the capital of France?", "Paris"),
    "hamlet": ("Who wrote Hamlet?", "William Shakespeare"),
    "moon": ("How far away is the moon?", "384,000 kilometres"),
    "water": ("At which temperature does water boil?", "100 degrees Celsius"),
    "colour": ("Which colour does a ripe tomato have?", "red"),
    "a/b é": ("When did the war end?", "in 1945"),
}


@pytest.fixture(scope="session")
def pairs() -> dict[str, tuple[str, str]]:
    """id -> question and answer of each item."""
    return PAIRS


@pytest.fixture(scope="session")
def nano() -> dcm.Generator:
    return dcm.find("generator", "nano")(device="cpu")


@pytest.fixture(scope="session")
def made(nano: dcm.Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the pairs with K = 4; not to be written to."""
    path = tmp_path_factory.mktemp("memory") / "run"
    once = dcm.find("optimizer", "restarts")(count=1)
    experiment = dcm.Experiment(generator=nano, slots=4, optimizer=once)
    with RunDirectory.create(path, experiment.describe()):
        pass  # an empty run
    dcm.open(path, generator=nano).add(dcm.Example(each, *texts) for each, texts in PAIRS.items())
    return path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be written to."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def memory(run: Path, nano: dcm.Generator) -> dcm.Memory:
    return dcm.open(run, generator=nano)
