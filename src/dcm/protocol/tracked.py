"""The protocol as one tracked run, with a run below it for each of its experiments."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dcm.protocol.plan import Plan
from dcm.protocol.report import write_report
from dcm.running.disk import write_json
from dcm.running.provenance import provenance
from dcm.secrets import mask_secrets
from dcm.tracking import GuardedTracking, Tracker

REPORT = "report.txt"
_KEY = "tracked.json"

Draw = Callable[[Path], Sequence[Path]]
"""Draws what is in a protocol's folder; gives the files and folders that it wrote."""


class TrackedProtocol:
    """Tells a tracker of a protocol, if one is wanted; it can neither stop nor hold it.

    Args:
        tracker: which; None tells nobody.
        plan: what is done.
        path: the folder of the protocol.
        warn: called with one line where tracking or drawing fails.
        draw: as `Protocol` has it.

    Attributes:
        below: tracks the protocol's experiments.
    """

    def __init__(
        self,
        tracker: Tracker | None,
        plan: Plan,
        path: Path,
        warn: Callable[[str], None],
        draw: Draw | None = None,
    ) -> None:
        self._path, self._warn, self._draw = path, warn, draw
        self._tracking = GuardedTracking(tracker, warn)
        if tracker is not None:
            described = {
                key: value for key, value in plan.describe().items() if key != "experiment"
            }
            origin = {**provenance(), "directory": str(path.resolve()), "key": _key(path / _KEY)}
            description = {**plan.experiment.describe(), "protocol": described, **origin}
            self._tracking.start(path.resolve().name, mask_secrets(description))
        self.below = self._tracking.children or tracker

    def finish(self, record: Mapping[str, Any], *, failed: bool, interrupted: bool) -> None:
        """The protocol ends, at its last stage or before.

        Args:
            record: what protocol.json holds.
            failed: it ended by an error; a failed gate is none.
            interrupted: somebody wants to leave.
        """
        if record.get("stages"):
            write_report(record, self._path / REPORT)
        files = [self._path / name for name in (REPORT, "protocol.json", "baselines.jsonl")]
        if not interrupted:
            files += self._drawn(record)
        there = [each for each in files if each.exists()]
        self._tracking.finish(numbers(record), there, failed, interrupted)

    def _drawn(self, record: Mapping[str, Any]) -> Sequence[Path]:
        """Figures of what was run; stage 0 runs nothing."""
        if self._draw is None or not set(record.get("stages", ())) - {"0"}:
            return ()
        try:
            return self._draw(self._path)
        except Exception as error:  # noqa: BLE001 - what was measured counts without figures
            self._warn(f"There are no figures: {error}")
            return ()


def numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a tracker is told at the end: verdict, gates, thresholds, seconds of each stage."""
    found: dict[str, Any] = {"verdict": sentence(record)}
    for gate in record.get("gates", ()):
        name = f"{gate['stage']} {gate['name']}"
        found.setdefault("gates", {})[name] = gate["measured"]["value"]
        found.setdefault("thresholds", {})[name] = gate["threshold"]
        found.setdefault("verdicts", {})[name] = gate["verdict"]
    found["stage_seconds"] = dict(record.get("seconds", {}))
    return found


def sentence(record: Mapping[str, Any]) -> str:
    """How the protocol ended, in a sentence."""
    if record.get("stopped"):
        reasons = ", ".join(each["gate"] for each in record["stopped"]["reasons"])
        return f"Stopped after stage {record['stopped']['stage']}: {reasons}"
    verdicts = [gate["verdict"] for gate in record.get("gates", ())]
    words = f"{verdicts.count('passed')} of {len(verdicts)} gates passed"
    if record.get("forced"):
        words += ", forced past the others"
    return words


def _key(path: Path) -> str:
    """What names the protocol in a folder, also where it goes on."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        key = uuid.uuid4().hex
        write_json(path, {"key": key})
        return key
