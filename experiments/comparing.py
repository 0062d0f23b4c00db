"""What the experiments that compare runs share: their options, sweeps and tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import SETS

from dcm import DcmError, Experiment, Generator, TaskDataset, Tracker, find
from dcm.cli.progress import words
from dcm.protocol.statistics import Estimate, bootstrap
from dcm.running.progress import Progress
from dcm.running.run_directory import RESULTS
from dcm.sweeping import Cell, Sweep

Row = dict[str, Any]


def options(doc: str, out: str, pairs: int) -> argparse.ArgumentParser:
    """The options that all comparisons take."""
    parser = argparse.ArgumentParser(
        description=doc.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="data sets as docs/results/tasks.md names them")
    add("--pairs", type=int, default=pairs, metavar="N", help="examples of a run")
    add("--max-steps", type=int, default=500, metavar="N", help="steps of an attempt")
    add("--attempts", type=int, default=1, metavar="N", help="starts of an example")
    add("--from-noise", action="store_true", help="start from noise, not from the texts")
    add("--dtype", metavar="NAME", help="what the models compute in")
    add("--device", default="auto", metavar="NAME", help="where")
    add("--seed", type=int, default=0, help="of all randomness")
    add("--out", type=Path, default=Path(out), metavar="DIR", help="where to; goes on there")
    add("--no-track", action="store_true", help="do not track with MLflow")
    return parser


def generator(name: str, asked: argparse.Namespace) -> Generator:
    """A model by its component's name, or that of a folder."""
    fields: dict[str, Any] = {"device": asked.device}
    if asked.dtype:
        fields["dtype"] = asked.dtype
    if Path(name).is_dir():
        made = find("generator", "transformers")(model=name, **fields)
    else:
        made = find("generator", name)(**fields)
    assert isinstance(made, Generator)
    return made


def dataset(name: str, asked: argparse.Namespace) -> TaskDataset:
    """A set of examples: the bundled ones, or those of a set below --data."""
    if name == "samples":
        made = find("dataset", "samples")(limit=asked.pairs)
        assert isinstance(made, TaskDataset)
        return made
    if asked.data is None:
        raise SystemExit(f"--data DIR is needed for {name}")
    return SETS[name](asked.data, asked.pairs)


def experiment(
    model: Generator, examples: TaskDataset, slots: int, asked: argparse.Namespace
) -> Experiment:
    """One run of a comparison: of one attempt unless asked otherwise."""
    fields = {"text_scale": 0.0} if asked.from_noise else {}
    return Experiment(
        generator=model,
        dataset=examples,
        optimizer=find("optimizer", "restarts")(
            inner=find("optimizer", "adam")(**fields), count=asked.attempts
        ),
        slots=slots,
        max_steps=asked.max_steps,
        seed=asked.seed,
        baseline_draws=1,
        on_error="skip",
    )


def run(base: Mapping[str, Any], cells: Sequence[Cell], asked: argparse.Namespace) -> list[Row]:
    """The cells' rows; a line on stderr for each."""
    said = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal said
        if progress.seconds - said >= 30 or progress.seconds < said:
            said = progress.seconds
            print(f"  {words(progress)}", file=sys.stderr, flush=True)

    return Sweep(asked.out, base, cells).run(
        tracker=tracker(asked),
        on_cell=lambda name, number, count: print(f"{number}/{count} {name}", file=sys.stderr),
        on_progress=on_progress,
        warn=lambda line: print(f"Warning: {line}", file=sys.stderr),
    )


def tracker(asked: argparse.Namespace) -> Tracker | None:
    """MLflow, unless it is not wanted or not there."""
    if asked.no_track:
        return None
    try:
        made = find("tracker", "mlflow")()
    except DcmError as error:
        print(f"Warning: it is not tracked: {error}", file=sys.stderr)
        return None
    assert isinstance(made, Tracker)
    return made


def held(folder: Path, model: Generator) -> dict[str, float]:
    """id -> nats that a content holds of its example's texts.

    That is what the texts cost behind a random content less what they cost behind the example's
    own, summed over their tokens.
    """
    found = {}
    for line in (folder / RESULTS).read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        random = result["baselines"].get("random", {})
        gains = [
            len(model.encode(result[mode])) * (random[mode] - loss)
            for mode, loss in result["losses"].items()
            if loss is not None and random.get(mode) is not None
        ]
        if gains:
            found[result["id"]] = sum(gains)
    return found


def information(folder: Path, model: Generator, slots: int) -> dict[str, Estimate]:
    """Nats an example, a slot and a parameter (one number of a content), means with intervals."""
    nats = list(held(folder, model).values())
    return {
        "nats": bootstrap(nats),
        "nats_per_slot": bootstrap([each / slots for each in nats]),
        "nats_per_parameter": bootstrap([each / slots / model.width for each in nats]),
    }


def figures(row: Mapping[str, Any], **more: str) -> dict[str, str]:
    """A row of a sweep as the cells of a table for a reader."""
    if row["pairs"] is None:
        return {"certified": row["state"], **more}
    low, high = 100 * row["certified_low"], 100 * row["certified_high"]
    return {
        "pairs": str(row["pairs"]),
        "certified": f"{100 * row['certified_rate']:.0f} % ({low:.0f} to {high:.0f})",
        "final/random loss": _number(row["loss_ratio"]),
        "steps": _number(row["median_steps"]),
        "s/pair": _number(row["seconds_per_pair"]),
        **more,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as a Markdown table, its columns in line."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def certified(folder: Path) -> dict[str, bool]:
    """id -> whether it was certified."""
    lines = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
    return {result["id"]: result["certified"] is True for result in map(json.loads, lines)}


def interval(estimate: Estimate, digits: int = 3) -> str:
    """An estimate with its interval."""
    if estimate.value is None:
        return ""
    low, high = (f"{each:.{digits}g}" for each in (estimate.low, estimate.high))
    return f"{estimate.value:.{digits}g} ({low} to {high})"
