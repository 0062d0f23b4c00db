"""Sweep: runs the cells of a grid one after the other, and goes on where it was left."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dcm.engines import Engine, engine_of
from dcm.errors import DcmError, RunDirectoryError, UsageError
from dcm.running.description import differences
from dcm.running.disk import on_disk, write_bytes, write_json
from dcm.running.experiment import Experiment
from dcm.running.lock import LOCK, Lock
from dcm.running.many import WORK
from dcm.running.progress import Progress
from dcm.running.provenance import provenance
from dcm.running.run_directory import EXPERIMENT
from dcm.secrets import mask_secrets
from dcm.sweeping.cells import Cell, name_of, shown
from dcm.sweeping.grid import grid
from dcm.sweeping.rows import DONE, FAILED, row, summary_of
from dcm.tracking import GuardedTracking, Tracker

SWEEP = "sweep.json"
CELLS = "cells.jsonl"
FIGURE = "sweep.png"


def sweep(
    directory: str | Path,
    experiment: Experiment,
    axes: Mapping[str, Sequence[Any]],
    **options: Any,
) -> list[dict[str, Any]]:
    """Run an experiment with every combination of values; the same call again goes on.

    Args:
        directory: of the sweep; absent, empty, or of the same sweep, which it amends.
        experiment: what all cells share.
        axes: dotted key -> values, such as `{"slots": [1, 2, 4], "optimizer.inner.lr": [0.1]}`.
        options: as `Sweep.run` takes them.

    Returns:
        A row a cell, those of earlier calls too; see `dcm.sweeping.rows.row`.

    Raises:
        UsageError: there is no such key or value, or another sweep is there.
    """
    return Sweep(directory, experiment.describe(), grid(experiment, axes)).run(**options)


@attrs.frozen
class _Known:
    """What sweep.json says."""

    key: str
    base: Mapping[str, Any]
    axes: tuple[str, ...]
    cells: tuple[Mapping[str, Any], ...]


class Sweep:
    """Cells in the folders below a folder; sweep.json there lists them.

    Args:
        directory: absent, empty, or of the same sweep, which the cells amend.
        base: the serial form of what the cells share.
        cells: at least one. Cells with an equal generator share it, so that it is loaded once.

    Raises:
        UsageError: there are no cells.
        RunDirectoryError: something else is in the folder.
    """

    def __init__(
        self, directory: str | Path, base: Mapping[str, Any], cells: Sequence[Cell]
    ) -> None:
        if not cells:
            raise UsageError(
                "a sweep without a cell was asked for", "", "Give a value for each key"
            )
        self.path = Path(directory)
        self.base: dict[str, Any] = mask_secrets(dict(base))
        self.cells = list(cells)
        self.errors: dict[str, str] = {}
        self.known = self._amended(self._read())

    def run(
        self,
        *,
        tracker: Tracker | None = None,
        on_cell: Callable[[str, int, int], None] = lambda _name, _number, _count: None,
        on_row: Callable[[dict[str, Any]], None] = lambda _row: None,
        on_progress: Callable[[Progress], None] | None = None,
        warn: Callable[[str], None] = lambda _line: None,
        engine: Engine | str | None = None,
        workers: int | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Run the cells that are not done. One that fails is told, and the others go on.

        Args:
            tracker: gets one run of the sweep, and below it one of each cell.
            on_cell: a cell begins; its name, its number from 1 and how many there are.
            on_row: a cell is done or has failed; its row.
            on_progress: as `Experiment.run` takes it, of the cell that runs.
            warn: called with one line where something went wrong that does not stop the sweep.
            engine: where workers solve the examples of each cell, as `Experiment.run` takes it.
                Cells run one after the other, each over all workers, which load its model anew.
            workers: how many; None for one a GPU.
            options: what else `Experiment.run` takes, such as `max_failures`.

        Returns:
            A row a cell, those of earlier calls too; nothing in a process that works for another
            (`torchrun`).

        Raises:
            UsageError: there is no such engine.
            RunDirectoryError: another process runs the sweep.
        """
        if engine is not None or workers is not None:
            engine = options["engine"] = engine_of(engine or "local", workers)
            if not engine.leads:
                engine.serve(WORK, several=True)
                return []
        with on_disk(self.path, "made"):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path)
        try:
            write_json(self.path / SWEEP, attrs.asdict(self.known))
            rows = self._run(tracker, on_cell, on_row, on_progress, warn, options)
        finally:
            lock.release()
        if isinstance(engine, Engine):
            engine.end()
        return rows

    def _run(
        self,
        tracker: Tracker | None,
        on_cell: Callable[[str, int, int], None],
        on_row: Callable[[dict[str, Any]], None],
        on_progress: Callable[[Progress], None] | None,
        warn: Callable[[str], None],
        options: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        todo = [cell for cell in self.cells if not summary_of(self.path / cell.name)]
        tracking = GuardedTracking(tracker if todo else None, warn)
        tracking.start(self.path.resolve().name, self._description())
        below = tracking.children or tracker
        interrupted = True
        try:
            for number, cell in enumerate(_sharing(todo), start=1):
                on_cell(cell.name, number, len(todo))
                path = self.path / cell.name
                try:
                    # The one place where cells are run: `options` go to Experiment.run.
                    cell.experiment.run(
                        path,
                        resume=(path / EXPERIMENT).exists(),
                        tracker=below,
                        on_progress=on_progress,
                        warn=warn,
                        **options,
                    )
                except Exception as error:  # noqa: BLE001 - the other cells go on
                    self.errors[cell.name] = _told(error)
                    warn(f"{cell.name} failed: {_told(error)}")
                on_row(row(path, cell.settings, self.errors.get(cell.name, "")))
            interrupted = False
        finally:
            rows = self._write(warn)
            files = [self.path / name for name in (SWEEP, CELLS, FIGURE)]
            failed = interrupted or bool(self.errors)
            tracking.finish(_summary(rows), files, failed, interrupted)
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """A row a cell, in the order of their values."""
        axes = self.known.axes
        found = []
        for settings in self.known.cells:
            name = name_of(settings)
            full = {key: settings.get(key, _at(self.known.base, key)) for key in axes}
            found.append(row(self.path / name, full, self.errors.get(name, "")))
        return sorted(found, key=lambda each: [_order(each[key]) for key in axes])

    def _write(self, warn: Callable[[str], None]) -> list[dict[str, Any]]:
        rows = self.rows()
        lines = (json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
        write_bytes(self.path / CELLS, "".join(lines).encode())
        if any(each["state"] == DONE for each in rows):
            from dcm.sweeping.figure import draw

            try:
                draw(rows, self.known.axes, self.path / FIGURE)
            except ImportError as error:
                warn(f"There is no figure: {error}")
        return rows

    def _description(self) -> dict[str, Any]:
        values = {
            key: list(dict.fromkeys(_order(each.get(key))[1] for each in self.known.cells))
            for key in self.known.axes
        }
        shared = mask_secrets(self.cells[0].experiment.describe())
        for key in self.known.axes:
            _remove(shared, key)
        return {
            **shared,
            "sweep": {key: ", ".join(texts) for key, texts in values.items()},
            **provenance(),
            "directory": str(self.path.resolve()),
            "key": self.known.key,
        }

    def _read(self) -> _Known | None:
        path = self.path / SWEEP
        with on_disk(path, "read"):
            if not path.exists():
                there = {each.name for each in self.path.iterdir()} if self.path.is_dir() else set()
                if there - {LOCK, f"{SWEEP}.tmp"} or (
                    self.path.exists() and not self.path.is_dir()
                ):
                    do = "Choose an empty or new folder"
                    raise RunDirectoryError(
                        f"{self.path} cannot take a sweep", "It is not empty and no sweep", do
                    )
                return None
            text = path.read_text(encoding="utf-8")
        try:
            found = json.loads(text)
            return _Known(
                str(found["key"]), dict(found["base"]), tuple(found["axes"]), tuple(found["cells"])
            )
        except (ValueError, KeyError, TypeError) as error:
            do = "Mend it, or choose another folder"
            raise RunDirectoryError(f"{path} is damaged", str(error), do) from error

    def _amended(self, before: _Known | None) -> _Known:
        """The new cells beside those that are known, under the names that these have."""
        new = [key for cell in self.cells for key in cell.settings]
        if before is None:
            axes = tuple(dict.fromkeys(new))
            cells = tuple(cell.settings for cell in self.cells)
            return _Known(uuid.uuid4().hex, self.base, axes, _distinct(cells))
        axes = tuple(dict.fromkeys([*before.axes, *new]))
        for key in sorted({*before.base, *self.base}):
            for place, was, now in differences(key, before.base.get(key), self.base.get(key)):
                if not any(_within(place, axis) or _within(axis, place) for axis in axes):
                    there = f"{place} was {was!r:.60}, now it is {now!r:.60}"
                    do = "Repeat its options, or choose another folder"
                    raise RunDirectoryError(f"{self.path} is another sweep", there, do)
        known = {_full(cell, axes, before.base): cell for cell in before.cells}
        cells = before.cells
        for number, cell in enumerate(self.cells):
            full = _full(cell.settings, axes, self.base)
            if full in known:
                self.cells[number] = attrs.evolve(cell, settings=known[full])
            else:
                cells = (*cells, cell.settings)
        return _Known(before.key, before.base, axes, _distinct(cells))


def _sharing(cells: Sequence[Cell]) -> Iterator[Cell]:
    """The cells, those of a generator together and with one generator.

    Where there are several each is a copy of its own, which goes with its last cell: models that
    nobody uses any more must not fill the memory.
    """
    groups: list[list[Cell]] = []
    for cell in cells:
        generator = cell.experiment.generator
        same = [each for each in groups if each[0].experiment.generator == generator]
        if same:
            same[0].append(cell)
        else:
            groups.append([cell])
    for group in groups:
        generator = group[0].experiment.generator
        if len(groups) > 1:
            generator = attrs.evolve(generator)  # type: ignore[misc]  # a component is an attrs class
        for cell in group:
            experiment = attrs.evolve(cell.experiment, generator=generator)
            yield attrs.evolve(cell, experiment=experiment)


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    done = [each for each in rows if each["state"] == DONE]
    found: dict[str, Any] = {
        "cells": len(rows),
        "cells_done": len(done),
        "cells_failed": sum(each["state"] == FAILED for each in rows),
    }
    if done:
        best = max(done, key=lambda each: each["certified_rate"] or 0.0)
        found |= {"best_certified_rate": best["certified_rate"], "best_cell": best["cell"]}
        found["seconds"] = sum(each["seconds"] for each in done)
    return found


def _distinct(cells: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple({name_of(each): each for each in cells}.values())


def _full(settings: Mapping[str, Any], axes: Sequence[str], base: Mapping[str, Any]) -> str:
    """A cell's value of every axis, as one text to compare."""
    values = {key: settings.get(key, _at(base, key)) for key in axes}
    return json.dumps(values, sort_keys=True)


def _at(form: Any, key: str) -> Any:
    """The value at a dotted key of a serial form; None where it is left to its default."""
    for head in key.split("."):
        if isinstance(form, Mapping):
            form = form.get("params", form).get(head)
        elif isinstance(form, list) and head.isdecimal() and int(head) < len(form):
            form = form[int(head)]
        else:
            return None
    return form


def _remove(form: Any, key: str) -> None:
    """Take what is at a dotted key out of a serial form; a member of a list goes with its list."""
    head, _, rest = key.partition(".")
    values = form.get("params", form) if isinstance(form, dict) else {}
    if rest and isinstance(values.get(head), dict):
        _remove(values[head], rest)
    else:
        values.pop(head, None)


def _within(key: str, above: str) -> bool:
    return key == above or key.startswith(f"{above}.")


def _order(value: Any) -> tuple[float, str]:
    """Numbers by their size, all else by its text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (float(value) if is_number else float("inf"), shown(value))


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if isinstance(error, DcmError) else f"{type(error).__name__}: {text}"
    return str(mask_secrets(text))
