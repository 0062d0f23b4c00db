"""Source: a folder that a report is asked for, a run, a sweep, a protocol, or a folder of runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dcm.errors import RunDirectoryError
from dcm.protocol.protocol import PROTOCOL
from dcm.reporting.runs import Run
from dcm.running.disk import on_disk, open_file
from dcm.running.frames import run_folders
from dcm.sweeping.rows import DONE
from dcm.sweeping.sweeps import CELLS


@attrs.define(eq=False)
class Source:
    """A folder with its runs.

    Attributes:
        path: the folder.
        name: what a reader knows it by.
        runs: the run that it is, or those below it, by name.
        record: what protocol.json holds; None where it is no protocol's.
        problems: what is damaged or missing, a line each.
    """

    path: Path
    name: str
    runs: Sequence[Run]
    record: Mapping[str, Any] | None
    problems: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a folder with all that is in it.

        Raises:
            RunDirectoryError: there is no run in it, or protocol.json is damaged.
            DcmError: a file cannot be read.
        """
        name = path.resolve().name or str(path)
        folders = sorted(run_folders(path), key=lambda each: _natural(str(each)))
        runs = [
            Run.read(each, name if each == path else each.relative_to(path).as_posix())
            for each in folders
        ]
        record = _record(path / PROTOCOL)
        problems = [line for run in runs for line in run.problems]
        return cls(path, name, runs, record, problems + _undone(path / CELLS))

    @property
    def main(self) -> list[Run]:
        """The runs that figures show: of a protocol its stages, without controls and ablations."""
        if self.record is None:
            return list(self.runs)
        return [run for run in self.runs if run.path.parent == self.path]


def named(sources: Iterable[Source]) -> list[Source]:
    """The sources; of several each run's name begins with its source's, and no two are the same."""
    found = list(sources)
    if len(found) == 1:
        return found
    if len({source.name for source in found}) < len(found):
        for source in found:
            source.name = str(source.path)
    for source in found:
        for run in source.runs:
            below = run.path.relative_to(source.path).as_posix()
            run.name = source.name if below == "." else f"{source.name}/{below}"
    return found


def _record(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    with on_disk(path, "read"), open_file(path) as file:
        data = file.read()
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        do = "Go on with the protocol by --resume, which writes it anew"
        raise RunDirectoryError(f"{path} is damaged", f"It is no JSON ({error})", do) from error
    if not (isinstance(value, Mapping) and isinstance(value.get("stages"), Mapping)):
        raise RunDirectoryError(f"{path} is damaged", "It has no stages", "Restore it from a copy")
    return value


def _undone(path: Path) -> list[str]:
    """The cells of a sweep that failed or are left to do, a line each."""
    if not path.is_file():
        return []
    problems = []
    with on_disk(path, "read"), open_file(path) as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            cell = json.loads(line.decode())
            if cell["state"] != DONE:
                why = f": {cell['error']}" if cell["error"] else ""
                problems.append(f"Cell {cell['cell']} of the sweep is {cell['state']}{why}")
        except (ValueError, KeyError, TypeError, RecursionError):
            problems.append(f"{path}:{number} is damaged and left out")
    return problems


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their size."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
