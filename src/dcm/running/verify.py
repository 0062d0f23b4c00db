"""Verification: is a run directory as the run wrote it?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import RunDirectoryError
from dcm.modes import Modes
from dcm.outcome import Outcome, Status
from dcm.running.certify import Certifier
from dcm.running.contents import Contents
from dcm.running.curve_parts import CurveParts
from dcm.running.description import FINGERPRINTS, check_unchanged, read_description
from dcm.running.fingerprints import of_example
from dcm.running.kept import sort_lines
from dcm.running.run_directory import EXPERIMENT, RESULTS, SUMMARY, RunDirectory

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment

_TOGETHER = 64


@attrs.define
class Verification:
    """What was found in a run directory.

    Attributes:
        lines: lines of results.jsonl, those written to their end.
        contents: contents whose bytes are those that were written.
        certified: contents that were decoded again and generate every target; None where
            nothing was decoded.
        problems: what is not as the run wrote it, a line each.
        notes: what is as it should be and still worth knowing, a line each.
    """

    lines: int = 0
    contents: int = 0
    certified: int | None = None
    problems: list[str] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)


def verify(path: str | Path, experiment: Experiment | None = None) -> Verification:
    """Check every line, every content, the curves and the summary. Nothing is changed.

    Args:
        path: the run directory.
        experiment: the run's, to decode all contents again; None does not.

    Raises:
        RunDirectoryError: there is no run.
        DcmError: the folder cannot be read, or the experiment's model or data.
    """
    run, found = RunDirectory.open(path), Verification()
    description: Mapping[str, Any] = {}
    try:
        description = read_description(run.path / EXPERIMENT)
        check_unchanged(run.path, description)
    except RunDirectoryError as error:
        found.problems.append(str(error))
    if not (run.path / RESULTS).is_file():
        found.problems.append(f"There is no {RESULTS}")
        return found
    lines = sort_lines(run.path / RESULTS, Contents(run.path), None)
    found.lines = len(lines.kept) + len(lines.aside) + lines.again
    found.contents = lines.contents
    found.problems += lines.problems
    if lines.torn:
        found.notes.append("The last line was not written to its end: its example is done again")
    if lines.again:
        found.notes.append(f"A component failed on {lines.again}: --resume tries them again")
    problem = CurveParts(run.path).problem()
    found.problems += [problem] if problem else []
    _compare_counts(run, description, found)
    if experiment is not None:
        _certify_again(run, description, experiment, lines.kept, found)
    return found


def _compare_counts(run: RunDirectory, description: Mapping[str, Any], found: Verification) -> None:
    """Does the summary tell of the lines that are there, and are they all?"""
    summary = run.summary()
    if (run.path / SUMMARY).exists() and summary is None:
        found.problems.append(f"{SUMMARY} is no JSON object")
    elif summary is not None and summary.get("finished") != found.lines:
        there = f"{SUMMARY} tells of {summary.get('finished')} examples"
        found.problems.append(f"{there}, {RESULTS} of {found.lines}")
    examples = _fingerprints(description).get("examples")
    count = examples.get("count") if isinstance(examples, dict) else None
    if isinstance(count, int) and found.lines < count:
        found.notes.append(f"{count - found.lines} of {count} examples are not finished")


def _certify_again(
    run: RunDirectory,
    description: Mapping[str, Any],
    experiment: Experiment,
    kept: Sequence[bytes],
    found: Verification,
) -> None:
    """Decode the contents of sound lines again and compare the verdicts."""
    if _fingerprints(description).get("weights") != experiment.generator.fingerprint:
        found.problems.append("The model's weights or tokenizer are not those of the run")
    modes = Modes(experiment.generator, "suffix" if experiment.layout == "suffix" else "prefix")
    certifier = Certifier(experiment.generator, experiment.objective, modes, run)
    examples = {each.id: each for each in experiment.dataset}
    results: list[dict[str, Any]] = []
    for result in map(json.loads, kept):
        example = examples.get(result["id"])
        if example is None or of_example(example) != result.get("example"):
            found.problems.append(f"The data set's example {result['id']!r} is not the run's")
        elif result["content"] and result["certified"] is not None:
            results.append(result)
    found.certified = 0
    for first in range(0, len(results), _TOGETHER):
        some = results[first : first + _TOGETHER]
        outcomes = [Outcome(examples[each["id"]], Status(each["status"])) for each in some]
        contents = run.load_contents([each["content"] for each in some])
        for outcome, result in zip(certifier.decode(outcomes, contents), some, strict=True):
            found.certified += outcome.certified is True
            if outcome.certified is not result["certified"]:
                now = "generates" if outcome.certified else "does not generate"
                found.problems.append(f"The content of {result['id']!r} {now} its texts now")


def _fingerprints(description: Mapping[str, Any]) -> Mapping[str, Any]:
    found = description.get(FINGERPRINTS)
    return found if isinstance(found, dict) else {}
