"""SweepRequest: what `dcm sweep` was asked, and doing it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcm.cli.overrides import TRACKER, check, check_remote_code, override, split
from dcm.cli.progress import ProgressLine
from dcm.cli.run import built, form_of, tracker_for
from dcm.cli.workforce import Workforce, default_engine
from dcm.errors import UsageError
from dcm.reporting.units import duration, percent
from dcm.running.many import WORK
from dcm.secrets import mask_secrets
from dcm.serial import Description

if TYPE_CHECKING:
    from dcm.sweeping import Cell


@attrs.define
class SweepRequest:
    """What the command line asks for.

    Attributes:
        experiment: an experiment.json, a run's folder, or None for the defaults.
        settings: `key=value` or `key=value,value` texts.
        out: the sweep's folder.
        track: whether to track it.
        json: print the rows as JSON.
        max_failures: the share of the examples of a cell on which a component may fail.
        workforce: who works on each cell.
    """

    experiment: Path | None
    settings: Sequence[str]
    out: Path
    track: bool
    json: bool
    max_failures: float | None = None
    workforce: Workforce = attrs.field(factory=Workforce)
    _running: bool = attrs.field(default=False, init=False)

    def run(self) -> int:
        """Run the cells, and print what they came to; how many failed.

        Raises:
            DcmError: what was asked cannot be done.
        """
        from dcm.sweeping import Sweep

        engine = self.workforce.find()
        if engine is not None and not engine.leads:
            engine.serve(WORK, several=True)
            return 0
        base, tracker_form, cells = self._cells()
        sweep = Sweep(self.out, base, cells)
        line = ProgressLine()
        tracker = tracker_for(tracker_form, self.track, line.warn)
        if tracker and tracker_form is None and tracker.place:
            typer.echo(f"tracking in {tracker.place} (--no-track: do not)", err=True)
        self._running = True

        def on_cell(name: str, number: int, count: int) -> None:
            nonlocal line
            line = ProgressLine().__enter__()
            line.load(f"cell {number} of {count}, {name}")

        def on_row(row: Mapping[str, Any]) -> None:
            line.__exit__(None, None, None)
            if not row["error"]:
                typer.echo(f"{row['cell']}: {_came_to(row)}", err=True)

        try:
            rows = sweep.run(
                tracker=tracker,
                on_cell=on_cell,
                on_row=on_row,
                on_progress=lambda progress: line(progress),  # noqa: PLW0108 - each cell has its own
                warn=lambda text: line.warn(text),  # noqa: PLW0108
                max_failures=self.max_failures,
                engine=engine or default_engine(*(cell.experiment.describe() for cell in cells)),
            )
        finally:
            line.__exit__(None, None, None)
        failed = len(sweep.errors)
        if self.json:
            print(json.dumps(rows, indent=2, ensure_ascii=False))
            return failed
        console = Console(highlight=False)
        console.print(rows_table(rows, sweep.known.axes))
        for name, error in sweep.errors.items():
            console.print(Text(f"{name} failed: {error}"))
        console.print(Text(f"Runs, cells.jsonl and sweep.png are in {self.out}"), soft_wrap=True)
        if tracker and (hint := tracker.hint()):
            console.print(f"To look further: {hint}", soft_wrap=True, markup=False)
        return failed

    def how_to_go_on(self) -> str:
        """A sentence on what there is after a failure; nothing where nothing was begun."""
        if not self._running:
            return ""
        return f"What is finished is kept in {self.out}; the same command goes on."

    def _cells(self) -> tuple[Description, Description | None, list[Cell]]:
        """What all cells share, the tracker asked for, and the cells."""
        from dcm.sweeping import Cell

        axes, shared = dict[str, list[str]](), list[tuple[str, str]]()
        known = _known_axes(self.out)
        for setting in self.settings:
            key, text = split(setting)
            values = split_values(text)
            if key in axes or key in dict(shared):
                raise UsageError(f"--set {key} was given twice", "", f"Write --set {key}=A,B")
            if key.partition(".")[0] == TRACKER or (len(values) == 1 and key not in known):
                shared.append((key, text))
            else:
                axes[key] = values
        if not axes:
            do = "Give a key several, as --set slots=1,2,4, or use 'dcm run'"
            raise UsageError("a sweep without a list of values was asked for", "", do)
        form = form_of(self.experiment, shared)
        check_remote_code(form, [*shared, *((key, "") for key in axes)])
        override(form, [at for at in shared if not _below_an_axis(at[0], axes)])
        tracker_form = form.pop(TRACKER, None)
        cells = []
        for point in product(*axes.values()):
            chosen = list(zip(axes, point, strict=True))
            own = deepcopy(form)
            below = [at for at in shared if _below_an_axis(at[0], axes)]
            override(own, [*below, *chosen])
            check(own)
            settings = {key: _value_at(own, key) for key in axes}
            cells.append(Cell(settings, built(own)))
        return form, tracker_form, cells


def split_values(text: str) -> list[str]:
    """The values of a list by commas; those within brackets, braces or quotes part nothing.

    Raises:
        UsageError: a value is missing.
    """
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth <= 0:
            values.append("")
            continue
        values[-1] += character
    stripped = [value.strip() for value in values]
    if not all(stripped):
        raise UsageError(f"the values {text!r} were given", "One is empty", "Write A,B,C")
    return list(dict.fromkeys(stripped))


def rows_table(rows: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> Table:
    """The rows of a sweep, in 80 columns."""
    from dcm.sweeping.cells import shown

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in axes:
        numeric = all(isinstance(row[key], int | float) for row in rows)
        table.add_column(_short(key, axes), justify="right" if numeric else "left", overflow="fold")
    for name in ("pairs", "certified", "95 % interval", "steps", "s/pair", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        values = [shown(row[key]) for key in axes]
        if row["pairs"] is None:
            table.add_row(*values, "", row["state"], "", "", "", "")
            continue
        interval = f"{100 * row['certified_low']:.0f} to {100 * row['certified_high']:.0f} %"
        table.add_row(
            *values,
            str(row["pairs"]),
            percent(row["certified_rate"]),
            interval,
            "" if row["median_steps"] is None else f"{row['median_steps']:g}",
            f"{row['seconds_per_pair']:.2g}",
            duration(row["seconds"]),
        )
    return table


def _came_to(row: Mapping[str, Any]) -> str:
    certified = round(row["certified_rate"] * row["pairs"])
    words = f"{certified} of {row['pairs']} certified"
    if row["median_steps"] is not None:
        words += f", {row['median_steps']:g} steps"
    return f"{words}, {duration(row['seconds'])}"


def _short(key: str, axes: Sequence[str]) -> str:
    """A key's last word where no other axis ends so."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in axes) == 1 else key


def _below_an_axis(key: str, axes: Mapping[str, Any]) -> bool:
    return any(key.startswith(f"{axis}.") for axis in axes)


def _known_axes(out: Path) -> Sequence[str]:
    """The axes of the sweep that is in a folder, where one is."""
    from dcm.sweeping.sweeps import SWEEP

    try:
        axes: Sequence[str] = json.loads((out / SWEEP).read_text(encoding="utf-8"))["axes"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # Sweep tells what is wrong with it
    return axes


def _value_at(form: Description, key: str) -> Any:
    value: Any = form
    for head in key.split("."):
        value = value[int(head)] if isinstance(value, list) else value.get("params", value)[head]
    return mask_secrets(value)
