"""Frames: what runs came to, as typed tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import RunDirectoryError, UsageError
from dcm.running.curve_parts import CURVES
from dcm.running.run_directory import EXPERIMENT, RunDirectory

if TYPE_CHECKING:
    import pandas as pd

# What a run says of itself, and as what: pandas' types that know a missing value.
_RUNS = {
    "run": "string",
    "generator": "string",
    "dataset": "string",
    "objective": "string",
    "optimizer": "string",
    "criterion": "string",
    "slots": "Int64",
    "max_steps": "Int64",
    "seed": "Int64",
    "done": "boolean",
    "finished": "Int64",
    "certified_rate": "Float64",
    "exact_rate": "Float64",
    "converged_rate": "Float64",
    "median_steps": "Float64",
    "p90_steps": "Float64",
    "row_steps": "Int64",
    "row_steps_per_second": "Float64",
    "wall_seconds": "Float64",
    "peak_memory_bytes": "Int64",
    "device": "string",
    "dtype": "string",
    "lanes": "Int64",
}
_EXAMPLES = {
    "run": "string",
    "id": "string",
    "status": "string",
    "reason": "string",
    "attempts": "Int64",
    "steps": "Int64",
    "row_steps": "Int64",
    "exact": "boolean",
    "margin": "Float64",
    "certified": "boolean",
    "question": "string",
    "answer": "string",
}
_CURVES = {
    "run": "string",
    "id": "string",
    "attempt": "Int32",
    "step": "Int32",
    "mode": "string",
    "loss": "Float32",
    "cosine": "Float32",
}
_COMPONENTS = ("generator", "dataset", "objective", "optimizer", "criterion")

# Of a line, what is by mode or by kind and mode: name of the column's beginning by the line's key.
_NESTED = {"losses": "loss", "decoded": "decoded", "baselines": "baseline"}


@attrs.frozen(eq=False)
class Results:
    """Runs as pandas frames, of columns with pandas' own nullable types.

    Attributes:
        runs: a row for each run: its folder `run`, its components by name, `slots`, `max_steps`,
            `seed`, whether it is `done`, and the numbers of its summary (design, section 7); of one
            that is not done only `finished` is known.
        examples: a row for each finished example: `run`, `id`, `status`, `reason`, `attempts`,
            `steps`, `row_steps`, `exact`, `margin` in nats, `certified`, `question`, `answer`, and,
            where there are any, `loss.<mode>` and `baseline.<kind>.<mode>` in nats,
            `decoded.<mode>`.
        curves: a row for each point: `run`, `id`, `attempt`, `step`, `mode`, `loss` in nats,
            `cosine`. Runs write them when they end.
    """

    runs: pd.DataFrame
    examples: pd.DataFrame
    curves: pd.DataFrame


def results(*folders: str | Path) -> Results:
    """What runs came to, as three frames.

    Args:
        folders: runs, finished or not, or folders of runs, as sweeps and protocols leave them.

    Raises:
        UsageError: no folder was named.
        RunDirectoryError: a folder holds no run, or a file in it is damaged, and which line.
    """
    if not folders:
        raise UsageError("no run was named", "", 'Name one: dcm.results("runs/first")')
    runs, examples, curves = [], [], []
    for path in dict.fromkeys(path for folder in folders for path in run_folders(Path(folder))):
        opened = RunDirectory.open(path)
        lines = [{"run": str(path), **_flat(line)} for line in opened.results()]
        examples += lines
        runs.append(_run(path, opened.summary(), len(lines)))
        if (path / CURVES).is_file():
            curves.append(_curves(path))
    return Results(_frame(runs, _RUNS), _frame(examples, _EXAMPLES), _joined(curves))


def run_folders(folder: Path) -> Iterator[Path]:
    """The folder itself if it is a run, else the runs below it."""
    found = sorted(path.parent for path in folder.rglob(EXPERIMENT)) if folder.is_dir() else []
    if folder in found or not found:
        yield RunDirectory.open(folder).path  # says what is wrong where it is none
    else:
        yield from found


def _run(path: Path, summary: Mapping[str, Any] | None, finished: int) -> dict[str, Any]:
    try:
        form = json.loads((path / EXPERIMENT).read_text(encoding="utf-8"))
        named = {kind: form[kind]["name"] for kind in _COMPONENTS if form.get(kind)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        asked = f"{path / EXPERIMENT} cannot be read"
        raise RunDirectoryError(asked, str(error), "Restore it from a copy") from error
    found = {"run": str(path), **named, "done": summary is not None, "finished": finished}
    found |= {key: form.get(key) for key in ("slots", "max_steps", "seed")}
    return found | {key: value for key, value in (summary or {}).items() if key in _RUNS}


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line without what is nested, which gets columns of its own."""
    found = {key: line.get(key) for key in _EXAMPLES if key != "run"}
    for key, name in _NESTED.items():
        found |= dict(_leaves(name, line.get(key) or {}))
    return found


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name, value


def _frame(rows: list[dict[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    others = sorted({key for row in rows for key in row} - set(types))
    frame = pd.DataFrame(rows, columns=[*types, *others])
    texts = {key: "string" if key.startswith("decoded.") else "Float64" for key in others}
    return frame.astype({**types, **texts})


def _curves(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    try:
        frame = pq.read_table(path / CURVES).to_pandas()
        frame.insert(0, "run", str(path))
        found: pd.DataFrame = frame[list(_CURVES)].astype(_CURVES)
    except Exception as error:  # Arrow raises many kinds
        asked = f"{path / CURVES} cannot be read"
        do = "Go on with the run by --resume, which writes it anew"
        raise RunDirectoryError(asked, str(error).partition("\n")[0], do) from error
    return found


def _joined(curves: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    if curves:
        return pd.concat(curves, ignore_index=True)
    return _frame([], _CURVES)
