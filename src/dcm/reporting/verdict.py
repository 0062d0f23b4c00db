"""Verdicts: what a run, several runs or a protocol came to, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from dcm.protocol.statistics import Estimate
from dcm.reporting.runs import Run, varying
from dcm.reporting.sources import Source
from dcm.reporting.units import percent

GOALS = (0.9, 0.99)
"""Shares of certified examples for which the smallest value of an axis is told."""

_ENDED = {
    "CONVERGED": "converged and did not hold when decoded",
    "MAX_STEPS": "ran out of steps",
    "NONFINITE": "were not finite",
    "FAILED": "could not be attempted",
}


def verdict(source: Source) -> list[str]:
    """What a folder came to, for a reader who knows nothing of it; the first sentence says most."""
    if source.record is not None:
        return of_protocol(source.record, source.main)
    return [of_run(source.runs[0]) if len(source.runs) == 1 else of_runs(source.runs)]


def of_run(run: Run) -> str:
    """A run in a sentence or three."""
    total, finished = run.summary["examples"], run.finished
    if not finished:
        return "The run has no examples." if run.done else "No example has finished yet."
    begin = "" if run.done else f"Not finished, {finished} of {total} examples so far. "
    what = f"generates each one's {' and '.join(run.modes)} verbatim" if run.modes else "generates"
    how = f"from {_counted(run.form.get('slots'), 'vector')} each, {model(run)} {what}"
    if not run.is_certified:
        exact = sum(each["exact"] for each in run.results)
        return (
            f"{begin}{exact} of {finished} examples are exact; nothing was decoded to certify it."
        )
    rate = run.certified
    count = round((rate.value or 0.0) * finished)
    if count == finished:
        some = "The one example is" if finished == 1 else f"All {finished} examples are"
        return f"{begin}{some} certified: {how}."
    told = f"{begin}{count} of {finished} examples ({_interval(rate)}) are certified: {how}."
    others = Counter(each["status"] for each in run.results if each["certified"] is not True)
    rest = ", ".join(f"{number} {_ENDED[status]}" for status, number in others.items())
    return f"{told} Of the rest {rest}."


def of_runs(runs: Sequence[Run]) -> str:
    """Several runs in a sentence or two."""
    known = [run for run in runs if run.done and run.finished]
    open_ones = len(runs) - len(known)
    end = f" {open_ones} of {len(runs)} runs are not finished." if open_ones else ""
    if not known:
        return f"None of {len(runs)} runs has finished."
    key = numeric_axis(known)
    if key:
        return _along(known, key) + end
    order = sorted(known, key=lambda run: run.certified.value or 0.0)
    low, high = order[0], order[-1]
    if low.certified.value == high.certified.value:
        return f"All {len(known)} runs certify {percent(low.certified.value or 0.0)}.{end}"
    return (
        f"{len(known)} runs certify from {percent(low.certified.value or 0.0)} ({low.name}) to "
        f"{percent(high.certified.value or 0.0)} ({high.name}).{end}"
    )


def of_protocol(record: Mapping[str, Any], runs: Sequence[Run]) -> list[str]:
    """A protocol: its gates, its joint stage, its controls."""
    gates = record["gates"]
    missed = [gate["name"] for gate in gates if gate["verdict"] != "passed"]
    if record["stopped"]:
        reasons = ", ".join(each["gate"] for each in record["stopped"]["reasons"])
        told = f"The protocol stopped after stage {record['stopped']['stage']}: {reasons}."
    elif not missed:
        told = f"The protocol passed: all {len(gates)} gates hold."
    else:
        passed = len(gates) - len(missed)
        told = f"{passed} of {len(gates)} gates hold; not held: {', '.join(missed)}."
    if record["forced"]:
        told += " It was forced past a failed gate."
    joint = [run for run in runs if run.path.name == "stage-2"]
    sentence = record["stages"].get("controls", {}).get("sentence")
    return [told, *map(of_run, joint), *([sentence] if sentence else [])]


def model(run: Run) -> str:
    """The model's name: of its folder or repository where it has one, else its component's."""
    name = run.settings.get("generator.model")
    return PurePath(str(name)).name if name else str(run.settings.get("generator", "the model"))


def numeric_axis(runs: Sequence[Run]) -> str | None:
    """The one key by which runs differ, if its values are numbers that all differ."""
    keys = varying(runs)
    if len(keys) != 1 or len(runs) < 2:
        return None
    values = [run.settings.get(keys[0]) for run in runs]
    numbers = [each for each in values if isinstance(each, int | float)]
    return keys[0] if len(set(numbers)) == len(runs) else None


def words(key: str) -> str:
    """A key for a reader."""
    return "K" if key == "slots" else key


def _along(runs: Sequence[Run], key: str) -> str:
    """The smallest values that meet the goals."""
    order = sorted(runs, key=lambda run: run.settings[key])
    counts = {run.finished for run in order}
    tried = f"Tried: {', '.join(f'{run.settings[key]:g}' for run in order)}; "
    tried += (
        f"{min(counts)} examples each." if len(counts) == 1 else f"{min(counts)} examples or more."
    )
    enough: dict[tuple[str, str], list[str]] = {}
    for goal in GOALS:
        met = [run for run in order if (run.certified.value or 0.0) >= goal]
        if met:
            value = f"{words(key)} = {met[0].settings[key]:g}"
            told = enough.setdefault((value, _interval(met[0].certified)), [])
            told.append(f"{100 * goal:g} %")
    best = max(order, key=lambda run: run.certified.value or 0.0)
    if not enough:
        at = f"{words(key)} = {best.settings[key]:g} ({_interval(best.certified)})"
        return f"None certifies {100 * GOALS[0]:g} % of the examples; the most does {at}. {tried}"
    parts = [
        f"{value} {'for' if number else 'is enough to certify'} {' and '.join(told)}"
        f"{'' if number else ' of the examples'} ({rate})"
        for number, ((value, rate), told) in enumerate(enough.items())
    ]
    none = ""
    if (best.certified.value or 0.0) < GOALS[1]:
        none = f"; none certifies {100 * GOALS[1]:g} %"
    return f"{', '.join(parts)}{none}. {tried}"


def _interval(rate: Estimate) -> str:
    if rate.value is None:
        return "-"
    ends = f"{100 * (rate.low or 0.0):.0f} to {100 * (rate.high or 0.0):.0f} %"
    return f"{percent(rate.value)}, 95 % interval {ends}"


def _counted(count: Any, word: str) -> str:
    return f"1 {word}" if count == 1 else f"{count} {word}s"
