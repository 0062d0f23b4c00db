"""A command line whose plugins include a tiny model and a toy task, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from typer.testing import CliRunner, Result

import dcm
import dcm.plugins
from dcm import Component, Plugins, TrackedRun, Tracker
from dcm.cli.app import app

Dcm = Callable[..., Result]


@attrs.frozen
class Recorder(Tracker):
    """Remembers what it is told.

    Attributes:
        uri: where to; "broken" fails at the start, "breaking" later on.
    """

    uri: str = "memory"
    told: ClassVar[list[str]] = []

    def start(self, name: str, description: Mapping[str, Any]) -> TrackedRun:
        self.told[:] = [f"start {name} {description['dataset']['name']} {self.uri}"]
        if self.uri == "broken":
            raise dcm.DcmError("the store is away")
        return RecordedRun(self)


class RecordedRun(TrackedRun):
    def __init__(self, tracker: Recorder) -> None:
        self.tracker = tracker

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        if self.tracker.uri == "breaking":
            raise dcm.DcmError("the store went away")

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        pass

    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Path], failed: bool) -> None:
        self.tracker.told.append(f"finish {'failed' if failed else 'done'}")

    @property
    def hint(self) -> str:
        return "look at the recorder"


class Doubles:
    """The plugin that provides them."""

    @dcm.hookimpl
    def dcm_generators(self) -> Iterable[Component]:
        return [Component("tiny", "dcm.testing.doubles:TinyGenerator", "a tiny random model")]

    @dcm.hookimpl
    def dcm_datasets(self) -> Iterable[Component]:
        return [Component("toy", "dcm.testing.doubles:ToyTask", "a toy task")]

    @dcm.hookimpl
    def dcm_trackers(self) -> Iterable[Component]:
        return [Component("recorder", f"{__name__}:Recorder", "remembers")]


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """The installed plugins and the doubles; the current folder is a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    dcm.plugins.installed.cache_clear()
    dcm.plugins.installed().add(Doubles(), "doubles", "1.0")
    yield dcm.plugins.installed()
    dcm.plugins.installed.cache_clear()


@pytest.fixture
def no_mlflow(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plugin provides a tracker called mlflow."""
    others = [each for each in entry_points(group="dcm") if each.name != "mlflow"]
    monkeypatch.setattr(dcm.plugins, "entry_points", lambda group: others)
    dcm.plugins.installed.cache_clear()
    dcm.plugins.installed().add(Doubles(), "doubles", "1.0")


@pytest.fixture
def command() -> Dcm:
    """Calls the command line in this process."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return call


@pytest.fixture
def run(command: Dcm) -> Dcm:
    """Calls `dcm run` on three toy examples and the tiny model, untracked, with further options."""

    def call(*arguments: str, toy: bool = True, track: bool = False) -> Result:
        chosen = ["--generator", "tiny", "--set", "slots=12"]
        if toy:
            chosen += ["--dataset", "toy", "--set", "dataset.count=3"]
        return command("run", *chosen, *([] if track else ["--no-track"]), *arguments)

    return call


def results(folder: str | Path) -> list[dict[str, Any]]:
    """A run's results by id, without where their contents are, which depends on their order."""
    lines = (Path(folder) / "results.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    for each in found:
        del each["content"]
    return sorted(found, key=lambda each: str(each["id"]))


@pytest.fixture
def read_results() -> Callable[[str | Path], list[dict[str, Any]]]:
    """`results`."""
    return results
