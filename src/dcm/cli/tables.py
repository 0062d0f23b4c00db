"""The closing table of a run, in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from dcm.reporting.units import duration, percent, rate, size


def closing_table(summary: Mapping[str, Any], out: str) -> Table:
    """What a run came to.

    Args:
        summary: what summary.json holds.
        out: the run's folder.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, figure in _rows(summary):
        table.add_row(name, Text(figure))
    table.add_row("run", Text(out))
    return table


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    finished, statuses = summary["finished"], summary["status_counts"]
    examples = str(summary["examples"])
    # Records that made no example, and examples on which something failed.
    for what, key in (("left out", "skipped"), ("failed", "failed_reasons")):
        if summary[key]:
            counts = (f"{count} {reason}" for reason, count in summary[key].items())
            examples += f"; {what}: {', '.join(counts)}"
    rows = [("examples", examples)]
    rows += [("read as", remark) for remark in summary.get("remarks", ())]
    for name in ("converged", "exact", "certified"):
        share = summary[f"{name}_rate"]
        rows.append((name, f"{round(share * finished)} of {finished}, {percent(share)}"))
    others = {name: count for name, count in statuses.items() if name != "CONVERGED"}
    if others:
        rows.append(("others", ", ".join(f"{count} {name}" for name, count in others.items())))
    if summary["median_steps"] is not None:
        steps = f"{summary['median_steps']:g} median"
        if summary["p90_steps"] is not None:
            steps += f", {summary['p90_steps']:g} at the 90th percentile"
        rows.append(("steps", f"{steps}, of the converged"))
    if summary.get("interference"):
        found = summary["interference"]
        gradients = f"cosine {found['cosine']:.2f} of the modes' gradients"
        rows.append(("interference", f"{gradients}, below 0 at {percent(found['below_zero'])}"))
    for name, evaluation in summary["evaluations"].items():
        # The data set grades what was decoded as the answer, and no other target.
        alone = "of the answer alone: " if name == "task" else ""
        rows.append((name, alone + _evaluation(name, evaluation)))
    if summary["row_steps"]:
        useful = summary["useful_row_steps"] / summary["row_steps"]
        speed = f"{rate(summary['row_steps_per_second'])} row-steps/s, {percent(useful)} useful"
        rows.append(("speed", speed))
    rows.append(("wall time", duration(summary["wall_seconds"])))
    place = f"{summary['device']}, {summary['dtype']}, {_count(summary['lanes'], 'lane')}"
    rows.append(("ran on", f"{place}, {size(summary['peak_memory_bytes'])} at most"))
    return rows


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _evaluation(name: str, numbers: Mapping[str, float | None]) -> str:
    """The rates among an evaluator's numbers if it gives any, else all of them."""
    values = {key: value for key, value in numbers.items() if value is not None}
    # A data set's own grades are shares by contract.
    rates = {key: share for key, share in values.items() if key.endswith("_rate") or name == "task"}
    if rates:
        shown = {key.removesuffix("_rate"): percent(share) for key, share in rates.items()}
    else:
        shown = {key: f"{value:.3g}" for key, value in values.items()}
    return ", ".join(f"{key.replace('_', ' ')} {figure}" for key, figure in shown.items())
