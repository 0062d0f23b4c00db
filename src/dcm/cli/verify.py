"""`dcm verify`: is a run's folder as the run wrote it?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from dcm.cli.overrides import (
    TRACKER,
    build_parts,
    check,
    check_remote_code,
    override,
    read_form,
    split,
)
from dcm.errors import UsageError
from dcm.running.run_directory import EXPERIMENT, RunDirectory
from dcm.running.verify import Verification, verify

_MOST_TOLD = 20


def print_verification(
    directory: Path, certify: bool, settings: Sequence[str], as_json: bool
) -> int:
    """Check a run's folder and print what was found; how many problems there are."""
    if settings and not certify:
        raise UsageError("--set was given", "Only --certify needs it", "Add --certify")
    RunDirectory.open(directory)
    experiment = None
    if certify:
        from dcm.running.experiment import Experiment

        form, chosen = read_form(directory / EXPERIMENT), [split(each) for each in settings]
        check_remote_code(form, chosen)
        override(form, chosen)
        check(form)
        form.pop(TRACKER, None)
        build_parts(form)  # for its errors, which name the key
        experiment = Experiment.build(form, trust_remote_code=True)
    found = verify(directory, experiment)
    if as_json:
        print(json.dumps(attrs.asdict(found), indent=2, ensure_ascii=False))
    else:
        print(words(found, str(directory)))
    return len(found.problems)


def words(found: Verification, name: str) -> str:
    """What was found, in lines of plain text."""
    lines = [f"{found.lines} lines, {found.contents} contents with the bytes that were written"]
    if found.certified is not None:
        lines.append(f"{found.certified} contents decoded again generate all of their texts")
    lines += found.notes
    lines += [f"Problem: {each}" for each in found.problems[:_MOST_TOLD]]
    if len(found.problems) > _MOST_TOLD:
        lines.append(f"{len(found.problems) - _MOST_TOLD} problems more; --json has them all")
    count = len(found.problems)
    problems = f"{count} problem{'s' if count > 1 else ''}"
    lines.append(f"{name}: {problems if count else 'all sound'}")
    return "\n".join(lines)
