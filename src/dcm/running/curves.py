"""Curves: the losses of rows along their steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcm.outcome import Outcome


def curve_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The outcomes' curves as rows of curves.parquet: id, attempt, step, mode, loss in nats, and
    the cosine of the modes' gradients at that step where it was measured."""
    return [
        {
            "id": outcome.example.id,
            "attempt": outcome.attempt,
            "step": step,
            "mode": mode,
            "loss": loss,
            **({"cosine": outcome.cosines[step - 1]} if outcome.cosines else {}),
        }
        for outcome in outcomes
        for step, losses in outcome.curve
        for mode, loss in losses.items()
    ]


def quartiles(path: str | Path, points: int = 64) -> dict[str, list[tuple[int, float]]]:
    """Quartiles of the loss by mode along the steps, and the share of rows still running.

    A row that has ended counts with its last loss, so that the curves tell of all rows.

    Args:
        path: a curves.parquet.
        points: most steps to give.

    Returns:
        "loss/MODE/median" and the like -> (step, nats), and "running" -> (step, share).
    """
    import numpy as np
    import pyarrow.parquet as pq

    columns = pq.read_table(path, columns=["id", "mode", "step", "loss"]).to_pydict()
    rows: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for key, mode, step, loss in zip(*columns.values(), strict=True):
        # A row that ends by a loss that is not finite counts with its last one that is.
        if math.isfinite(loss):
            rows.setdefault(mode, {}).setdefault(key, []).append((step, loss))
    seen = sorted(set(columns["step"]))
    chosen = np.unique(np.linspace(0, max(0, len(seen) - 1), min(points, len(seen))).astype(int))
    steps = [seen[place] for place in chosen]
    found: dict[str, list[tuple[int, float]]] = {}
    last: dict[str, int] = {}
    for mode, curves in rows.items():
        wide = np.empty((len(curves), len(steps)))
        for line, (key, curve) in enumerate(curves.items()):
            own_steps, losses = zip(*sorted(curve), strict=True)
            place = np.searchsorted(own_steps, steps, side="right") - 1
            wide[line] = np.asarray(losses)[np.maximum(place, 0)]
            last[key] = max(last.get(key, 0), own_steps[-1])
        for name, share in (("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75)):
            values = np.quantile(wide, share, axis=0)
            found[f"loss/{mode}/{name}"] = list(zip(steps, values.tolist(), strict=True))
    if last:
        ends = np.asarray(list(last.values()))
        found["running"] = [(step, float((ends >= step).mean())) for step in steps]
    return found
