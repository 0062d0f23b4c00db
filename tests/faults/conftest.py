"""Small runs to damage: a model with a known optimum, whose steps take microseconds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

import dcm.plugins
from dcm import Component, Experiment, Plugins, hookimpl
from dcm.optimizer import Optimizer


@attrs.frozen
class Near(Optimizer):
    """Goes a part of the way to the optimum each step."""

    def start(self, keys, space, texts):
        noise = [torch.randn(space.slots, space.width, generator=key.random()) for key in keys]
        return torch.stack(noise) if noise else torch.zeros(0, space.slots, space.width)

    def init(self, content, space):
        return torch.zeros(len(content))

    def step(self, content, gradient, state):
        return content - 0.4 * gradient * content[0].numel(), state + 1


class Doubles:
    """The plugin that provides what these runs are made of."""

    @hookimpl
    def dcm_generators(self):
        return [Component("quadratic", "dcm.testing.doubles:QuadraticGenerator", "known optimum")]

    @hookimpl
    def dcm_datasets(self):
        return [Component("toy", "dcm.testing.doubles:ToyTask", "a toy task")]

    @hookimpl
    def dcm_objectives(self):
        return [Component("distance", "dcm.testing.doubles:QuadraticObjective", "distance")]

    @hookimpl
    def dcm_optimizers(self):
        return [Component("near", f"{__name__}:Near", "goes near")]


@pytest.fixture
def plugins() -> Iterator[Plugins]:
    """The installed plugins and the doubles."""
    dcm.plugins.installed.cache_clear()
    dcm.plugins.installed().add(Doubles(), "doubles", "1.0")
    yield dcm.plugins.installed()
    dcm.plugins.installed.cache_clear()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six pairs whose answers are numbers."""
    file = tmp_path / "pairs.csv"
    lines = [f"What is {number}?,{number}.5\n" for number in range(6)]
    file.write_text("question,answer\n" + "".join(lines))
    return file


@pytest.fixture
def experiment(plugins: Plugins, pairs: Path) -> Experiment:
    from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective

    return Experiment(
        generator=QuadraticGenerator(),
        dataset=dcm.find("dataset", "csv")(path=str(pairs)),
        objective=QuadraticObjective(),
        optimizer=Near(),
        slots=2,
        max_steps=40,
        lanes=2,
        baseline_draws=1,
    )


@pytest.fixture
def run(experiment: Experiment, tmp_path: Path) -> Path:
    """A finished run's folder."""
    experiment.run(tmp_path / "run")
    return tmp_path / "run"


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """id -> its line, with the content's bytes in place of where they are."""
    from safetensors import safe_open

    found: dict[str, dict[str, Any]] = {}
    for text in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
        result = json.loads(text)
        assert result["id"] not in found, "an example is there twice"
        ref = result.pop("content")
        if ref:
            with safe_open(folder / ref["file"], framework="pt") as shard:
                result["tensor"] = shard.get_tensor(ref["key"]).tolist()
        found[result["id"]] = result
    return found


@pytest.fixture
def read_run() -> Callable[[Path], dict[str, dict[str, Any]]]:
    """`read`."""
    return read


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies the finished run and damages the copy; without its summary, as if it had not ended."""

    def copy(damage: Callable[[Path], object], keep_summary: bool = False) -> Path:
        folder = tmp_path / "damaged"
        shutil.copytree(run, folder)
        if not keep_summary:
            (folder / "summary.json").unlink()
        damage(folder)
        return folder

    return copy
