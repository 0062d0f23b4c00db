"""Whether runs can be one memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm.errors import RunDirectoryError
from dcm.memory.run_items import RunItems
from dcm.running.description import read_description
from dcm.running.run_directory import EXPERIMENT

if TYPE_CHECKING:
    from dcm.generator import Generator


def check_that_they_agree(
    runs: Sequence[RunItems], experiments: Sequence[Mapping[str, Any]], *, same_model: bool
) -> None:
    """Refuse runs that cannot be one memory.

    Args:
        same_model: their models must be the same.

    Raises:
        RunDirectoryError: they are of different models, or share an id.
    """
    import numpy as np

    first = experiments[0]
    for run, other in zip(runs, experiments, strict=True):
        if same_model and _model(other) != _model(first):
            asked = f"{runs[0].path} and {run.path} are of different models"
            there = f"One has {_short(_model(first))}, the other {_short(_model(other))}"
            do = "A content is of use to its own model alone: open them one by one"
            raise RunDirectoryError(asked, there, do)
    for number, run in enumerate(runs):
        for other_run in runs[:number]:
            twice = np.intersect1d(other_run.keys[other_run.present], run.keys[run.present])
            if len(twice):
                place = int(np.nonzero((run.keys == twice[0]) & run.present)[0][0])
                example_id = run.line(place)["id"]
                asked = f"{other_run.path} and {run.path} both have an item {example_id!r}"
                there = f"They share {len(twice)}"
                raise RunDirectoryError(asked, there, "Open them one by one")


def check_framing(
    runs: Sequence[RunItems], experiments: Sequence[Mapping[str, Any]], generator: Generator
) -> None:
    """Refuse a given model that puts prompts into another frame than a run's.

    Raises:
        RunDirectoryError: it does.
    """
    framing = getattr(generator, "framing", "raw")
    for run, experiment in zip(runs, experiments, strict=True):
        own = _framing(experiment["generator"])
        if own != framing:
            asked = f"{run.path} cannot be opened with that model"
            there = f"Its contents have framing={own}, the model that was given {framing}"
            raise RunDirectoryError(asked, there, f"Give a model with framing={own!r}")


def read_experiment(path: Path) -> dict[str, Any]:
    """What a run's experiment.json says.

    Raises:
        RunDirectoryError: it is damaged, or names no generator.
        DcmError: it cannot be read.
    """
    found = read_description(path / EXPERIMENT)
    form: Any = found.get("generator")
    known = isinstance(form, Mapping) and isinstance(form.get("name"), str)
    if not (known and isinstance(form.get("params", {}), Mapping)):
        asked = f"{path / EXPERIMENT} names no generator"
        raise RunDirectoryError(asked, f"It says {form!r:.80}", "Restore it from a copy")
    return found


def _model(experiment: Mapping[str, Any]) -> Any:
    """What a content depends on: which model it is, not where it runs."""
    form = experiment["generator"]
    where = {"device", "compiled", "compute"}
    return form["name"], {k: v for k, v in form.get("params", {}).items() if k not in where}


def _framing(form: Mapping[str, Any]) -> Any:
    params = form.get("params", {})
    inner = params.get("generator")  # of a control that has another model's framing
    return _framing(inner) if isinstance(inner, Mapping) else params.get("framing", "raw")


def _short(model: Any) -> str:
    name, params = model
    return " ".join([name, *(f"{key}={value}" for key, value in params.items())])
