"""Run: what a report reads of a run's folder, finished or not, whole or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from dcm.protocol.health import Health, healths
from dcm.protocol.results import Curve, Result, modes_of, read_curves
from dcm.protocol.statistics import Estimate, wilson
from dcm.running.description import FINGERPRINTS, ORIGIN, read_description
from dcm.running.disk import on_disk
from dcm.running.result_lines import read_lines
from dcm.running.run_directory import DAMAGED, EXPERIMENT, RESULTS, SUMMARY, RunDirectory
from dcm.running.summary import summarise
from dcm.secrets import mask_secrets


@attrs.define(eq=False, slots=False)
class Run:
    """A run as it is on disk.

    Attributes:
        path: its folder.
        name: what a reader knows it by.
        form: what experiment.json holds, without secrets.
        results: its sound lines, one an example.
        summary: what summary.json holds; of a run that is not done what its lines come to.
        done: whether it has come to its end.
        curves: example id -> loss curve.
        problems: what is damaged and left out, a line each.
    """

    path: Path
    name: str
    form: Mapping[str, Any]
    results: Sequence[Result]
    summary: Mapping[str, Any]
    done: bool
    curves: Mapping[str, Curve]
    problems: Sequence[str]

    @classmethod
    def read(cls, path: Path, name: str) -> Run:
        """Read a run. What is damaged in it is left out, and said in `problems`.

        Raises:
            RunDirectoryError: there is no run, or its experiment.json is damaged.
        """
        opened = RunDirectory.open(path)
        form: Mapping[str, Any] = mask_secrets(read_description(path / EXPERIMENT))
        results, problems = _sound_lines(path)
        summary = opened.summary()
        if summary is None and (path / SUMMARY).exists():
            problems.append(f"{path / SUMMARY} cannot be read")
        if (path / DAMAGED).is_file():
            with on_disk(path / DAMAGED, "read"):
                count = (path / DAMAGED).read_bytes().count(b"\n")
            problems.append(f"{path / DAMAGED} holds {count} lines that --resume put aside")
        try:
            curves = read_curves(path)
        except Exception as error:  # noqa: BLE001 - Arrow raises many kinds
            curves = {}
            why = str(error).partition("\n")[0]
            problems.append(f"The loss curves of {path} cannot be read: {why}")
        found = {**summarise(results, _examples(form, len(results))), **(summary or {})}
        return cls(path, name, form, results, found, summary is not None, curves, problems)

    @cached_property
    def health(self) -> dict[str, Health]:
        """Example id -> what its loss curve looks like."""
        return healths(self.curves)

    @property
    def finished(self) -> int:
        """How many examples are finished."""
        return len(self.results)

    @property
    def is_certified(self) -> bool:
        """Whether its contents were decoded to see whether they hold."""
        return any(each["certified"] is not None for each in self.results)

    @property
    def certified(self) -> Estimate:
        """The share of certified examples with its interval."""
        return wilson(sum(each["certified"] is True for each in self.results), self.finished)

    @property
    def modes(self) -> list[str]:
        """What was to be generated, as "question" and "answer"."""
        return modes_of(self.results)

    @property
    def steps(self) -> list[int]:
        """Steps of the converged."""
        return [each["steps"] for each in self.results if each["status"] == "CONVERGED"]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Dotted key, as `--set` takes it -> value, of all that was asked for; a component's
        own key has its name."""
        asked = {key: value for key, value in self.form.items() if key not in ORIGIN}
        return {key: value for part, form in asked.items() for key, value in _flat(part, form)}


def varying(runs: Sequence[Run]) -> list[str]:
    """The keys in which runs differ; of a component that differs not its fields."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    found: list[str] = []
    for key in keys:
        values = {json.dumps(run.settings.get(key), sort_keys=True) for run in runs}
        if len(values) > 1 and not any(key.startswith(f"{above}.") for above in found):
            found.append(key)
    return found


def _sound_lines(path: Path) -> tuple[list[Result], list[str]]:
    found: dict[str, Result] = {}
    problems = []
    if not (path / RESULTS).exists():
        return [], []
    for line in read_lines(path / RESULTS):
        if not line.whole:  # it is being written, or the run was killed while it was
            continue
        place = f"{path / RESULTS}:{line.number}"
        if line.result is None:
            problems.append(f"{place} is damaged and left out: {line.problem}")
        elif line.result["id"] in found:
            problems.append(f"{place} is left out: {line.result['id']!r} stands in a line before")
        else:
            found[line.result["id"]] = line.result
    return list(found.values()), problems


def _examples(form: Mapping[str, Any], least: int) -> int:
    """How many examples a run has, as far as its description says."""
    prints = form.get(FINGERPRINTS)
    examples = prints.get("examples") if isinstance(prints, Mapping) else None
    count = examples.get("count") if isinstance(examples, Mapping) else None
    return count if isinstance(count, int) else least


def _flat(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and isinstance(value.get("params"), Mapping):
        inner = [
            each for name, at in value["params"].items() for each in _flat(f"{key}.{name}", at)
        ]
        return [(key, value.get("name")), *inner]
    if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        return [
            pair for number, each in enumerate(value) for pair in _flat(f"{key}.{number}", each)
        ]
    return [(key, value)]
