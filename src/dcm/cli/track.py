"""`dcm track`: tells a tracker of a run that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcm.cli.overrides import TRACKER, check, default_tracker, override, split
from dcm.errors import DcmError, UsageError
from dcm.running.curve_parts import CURVES
from dcm.running.curves import quartiles
from dcm.running.description import read_description
from dcm.running.run_directory import EXPERIMENT, RESULTS, SUMMARY, RunDirectory
from dcm.running.summary import share
from dcm.secrets import mask_secrets
from dcm.serial import Description, build
from dcm.tracking import Tracker


def track_directory(directory: Path, settings: Sequence[str]) -> None:
    """Tell the tracker that `settings` choose of the run in a folder, and say where to look.

    Raises:
        DcmError: there is no run, or the tracker cannot be told.
    """
    form: Description = {}
    chosen = [split(setting) for setting in settings]
    for key, _ in chosen:
        if key.partition(".")[0] != TRACKER:
            raise UsageError(f"there is no key {key!r}", "", "Set tracker or tracker.FIELD")
    override(form, chosen)
    check(form)
    run = RunDirectory.open(directory)
    tracker: Tracker = build(form[TRACKER]) if TRACKER in form else default_tracker()
    description = read_description(run.path / EXPERIMENT)
    tracked = tracker.start(run.path.resolve().name, mask_secrets(description))
    failure: DcmError | None = None
    exact = certified = 0
    calls = []
    for finished, result in enumerate(run.results(), start=1):
        exact += result["exact"]
        certified += result["certified"] is True
        values = {
            "progress/exact_rate": share(exact, finished),
            "progress/certified_rate": share(certified, finished),
        }
        calls.append((values, finished))
    try:
        for values, finished in calls:
            tracked.metrics(values, finished)
        if (run.path / CURVES).exists():
            for name, points in quartiles(run.path / CURVES).items():
                tracked.curve(name, points)
    except DcmError as error:
        failure = error
    summary = run.summary()
    names = (EXPERIMENT, RESULTS, SUMMARY, CURVES)
    files = [run.path / name for name in names if (run.path / name).exists()]
    tracked.finish(summary or {}, files, summary is None)
    if failure is not None:
        raise failure
    print(f"To look further: {mask_secrets(tracked.hint)}")
