"""The description of a run, in the Markdown that MLflow shows above its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def note(description: Mapping[str, Any], summary: Mapping[str, Any], run: str) -> str:
    """What a run is, what came of it, where it is, and how to repeat it.

    Args:
        description: what experiment.json holds.
        summary: what summary.json holds; empty while it runs, and where it failed.
        run: the id of the tracked run.
    """
    names = {key: _name(description.get(key)) for key in ("generator", "dataset")}
    lines = []
    if all(names.values()) and "slots" in description and "sweep" not in description:
        lines.append(
            f"**K = {description['slots']}** vectors per example, model **{names['generator']}**, "
            f"data **{names['dataset']}**."
        )
    for key, values in dict(description.get("sweep") or {}).items():
        lines.append(f"Sweep over **{key}** = {values}. Its runs are the children of this one.")
    if summary.get("finished"):
        lines.append(_result(summary))
    if "cells" in summary:
        words = f"{summary['cells_done']} of {summary['cells']} cells are done"
        if summary.get("best_certified_rate") is not None:
            best = f"{100 * summary['best_certified_rate']:.0f} % certified"
            words += f"; the best, `{summary['best_cell']}`, has {best}"
        lines.append(f"{words}. `cells.json` is their table, `sweep.png` the figure.")
    if summary.get("verdict"):
        lines.append(f"**{summary['verdict']}**")
    if description.get("directory"):
        lines.append(f"Folder: `{description['directory']}`")
    if "sweep" not in description and "slots" in description:
        lines.append(f"Again: `dcm run mlflow:{run}`")
    return "\n\n".join(lines)


def _result(summary: Mapping[str, Any]) -> str:
    count = summary["finished"]
    words = f"**{100 * summary.get('certified_rate', 0.0):.0f} % of {count} pairs certified**"
    if summary.get("median_steps") is not None:
        words += f", {summary['median_steps']:g} steps (median of the converged)"
    if summary.get("wall_seconds"):
        words += f", {summary['wall_seconds'] / count:.2g} s a pair"
    if summary.get("device"):
        words += f", on {summary['device']}"
    return f"{words}."


def _name(value: Any) -> str:
    return str(value.get("name", "")) if isinstance(value, Mapping) else ""
