"""Stored: what the protocol reads of a run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcm.running.curve_parts import CURVES
from dcm.running.run_directory import RunDirectory

Result = Mapping[str, Any]
"""A line of results.jsonl."""

Curve = tuple[tuple[int, Mapping[str, float]], ...]
"""(step, mode -> nats) in the order of steps, thinned."""


def read_results(path: str | Path) -> dict[str, Result]:
    """The finished examples of a run, id -> result, in the order in which they finished."""
    return {result["id"]: result for result in RunDirectory.open(path).results()}


def read_curves(path: str | Path) -> dict[str, Curve]:
    """The loss curves of a run's kept attempts, id -> curve."""
    import pyarrow.parquet as pq

    path = Path(path)
    found: dict[str, dict[int, dict[str, float]]] = {}
    # A run that was stopped has its curves in parts.
    files = [path / CURVES] if (path / CURVES).exists() else sorted(path.glob("curves.*.part"))
    for file in files:
        columns = pq.read_table(file, columns=["id", "step", "mode", "loss"]).to_pydict()
        for key, step, mode, loss in zip(*columns.values(), strict=True):
            found.setdefault(key, {}).setdefault(step, {})[mode] = loss
    return {key: tuple(sorted(steps.items())) for key, steps in found.items()}


def loss_of(result: Result, mode: str) -> float:
    """Final loss of a mode in nats; NaN where it was not measured."""
    return number(result["losses"].get(mode))


def baseline_of(result: Result, kind: str, mode: str) -> float:
    """A baseline loss of a mode in nats; NaN where it was not measured."""
    return number(result["baselines"].get(kind, {}).get(mode))


def modes_of(results: Sequence[Result]) -> list[str]:
    """The modes of the results, in the order in which they are first seen."""
    return list(dict.fromkeys(mode for result in results for mode in result["losses"]))


def number(value: float | None) -> float:
    """A stored number; NaN for None, which is how a file says that there is none."""
    return math.nan if value is None else float(value)
