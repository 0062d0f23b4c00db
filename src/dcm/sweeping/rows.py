"""What a sweep came to: a row a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcm.protocol.statistics import wilson
from dcm.running.disk import on_disk
from dcm.running.run_directory import SUMMARY

DONE, FAILED, LEFT = "done", "failed", "left"


def row(folder: Path, settings: Mapping[str, Any], error: str = "") -> dict[str, Any]:
    """A cell as a flat row; what is not known of it is None.

    Returns:
        `cell`, its name; `state`: "done", "failed" or "left" to do; `error`; the settings by
        their keys; `pairs`, finished ones; `certified_rate` and `exact_rate`, shares of them, the
        former with Wilson's 95 % interval `certified_low` to `certified_high`; `median_steps` of
        the converged; `seconds` of all sessions and `seconds_per_pair`; `loss_ratio`, final loss
        by that behind random contents, a mean.
    """
    summary = summary_of(folder)
    found: dict[str, Any] = {
        "cell": folder.name,
        "state": FAILED if error else DONE if summary else LEFT,
        "error": error,
        **settings,
    }
    pairs = summary["finished"] if summary else 0
    rate = wilson(round(summary["certified_rate"] * pairs) if summary else 0, pairs)
    found |= {
        "pairs": pairs if summary else None,
        "certified_rate": rate.value,
        "certified_low": rate.low,
        "certified_high": rate.high,
    }
    for name, key in (
        ("exact_rate", "exact_rate"),
        ("median_steps", "median_steps"),
        ("seconds", "wall_seconds"),
        ("loss_ratio", "mean_loss_ratio"),
    ):
        found[name] = summary[key] if summary else None
    found["seconds_per_pair"] = found["seconds"] / pairs if pairs else None
    return found


def summary_of(folder: Path) -> dict[str, Any]:
    """What the summary.json of a run holds; empty where it has none yet."""
    path = folder / SUMMARY
    with on_disk(path, "read"):
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}
