"""How many content vectors does an example of each data set need?

    python experiments/tasks.py --data ../shared/data
    python experiments/tasks.py --data ../shared/data --sets sudoku --slots 8 32 --examples 20
    python experiments/tasks.py --data ../shared/data --sets arc --slots 64 --optimizer muon

Every set runs at every K in a run directory of its own, `<out>/<set>-k<K>`. A run that is there
is not done again, and one that was cut off goes on, so the same command finishes an interrupted
table. `<out>/tasks.md` has the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dcm import Experiment, Generator, TaskDataset, find
from dcm.running.run_directory import EXPERIMENT, RESULTS, SUMMARY

COLUMNS = (
    "data set",
    "K",
    "examples",
    "exact",
    "certified",
    "steps, median",
    "grade",
    "longest exact, tokens",
    "left out",
    "seconds",
)


def stored(name: str, path: str, **fields: Any) -> Callable[[Path, int], TaskDataset]:
    """Examples of a file, drawn by the seed 0."""

    def make(data: Path, count: int) -> TaskDataset:
        more = {key: str(data / value) for key, value in fields.items()}
        made = find("dataset", name)(path=str(data / path), seed=0, limit=count, **more)
        assert isinstance(made, TaskDataset)
        return made

    return make


def arithmetic(data: Path, count: int) -> TaskDataset:
    """Generated sums, differences and products of two-digit numbers."""
    made = find("dataset", "arithmetic")(count=count)
    assert isinstance(made, TaskDataset)
    return made


def arc(data: Path, count: int) -> TaskDataset:
    """Training tasks, all demonstrations in the question, that fit into nano behind 64 slots."""
    tasks = find("dataset", "arc")(path=str(data / "arc/ARC-AGI-1/data/training"))
    fitting = find("dataset", "filter-length")(
        dataset=tasks, part="question", max_tokens=950, tokenizer=str(nano_folder())
    )
    made = find("dataset", "sample")(dataset=fitting, count=count)
    assert isinstance(made, TaskDataset)
    return made


def nano_folder() -> Path:
    """Where the bundled model's tokenizer is."""
    from importlib.resources import files

    return Path(str(files("dcm_nano") / "model"))


SETS: dict[str, Callable[[Path, int], TaskDataset]] = {
    "squad": stored("squad", "squad_v2/dev-v2.0.json"),
    "triviaqa": stored("triviaqa", "triviaqa/derived/unfiltered-web-dev.mosaic3000.derived.json"),
    "natural-questions": stored("natural-questions", "natural_questions/nq_open/NQ-open.dev.jsonl"),
    "hotpotqa": stored("hotpotqa", "hotpotqa/official_layout/hotpot_dev_distractor_v1_100.json"),
    "arithmetic": arithmetic,
    "sudoku": stored(
        "sudoku",
        "sudoku/lines81/medium_puzzles.txt",
        solutions="sudoku/lines81/medium_solutions.txt",
    ),
    "arc": arc,
}


def measure(name: str, slots: int, asked: argparse.Namespace) -> Path:
    """Run one data set at one K, or what is left of it; its run directory."""
    run: Path = asked.out / f"{name}-k{slots}"
    if not (run / SUMMARY).exists():
        experiment = Experiment(
            generator=find("generator", asked.generator)(),
            dataset=SETS[name](asked.data, asked.examples),
            optimizer=find("optimizer", "restarts")(
                inner=find("optimizer", asked.optimizer)(), count=asked.attempts
            ),
            slots=slots,
            max_steps=asked.max_steps,
            baseline_draws=0,  # no column of the table needs them
            on_error="skip",
        )
        experiment.run(run, resume=(run / EXPERIMENT).exists(), tracker=asked.tracker)
    return run


def row(run: Path, generator: Generator) -> tuple[str, ...]:
    """A finished run as a row of the table."""
    name, _, slots = run.name.rpartition("-k")
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    lines = (run / RESULTS).read_text(encoding="utf-8").splitlines()
    exact = [line for line in map(json.loads, lines) if line["exact"]]
    longest = max(
        (len(generator.encode(line[part])) for line in exact for part in ("question", "answer")),
        default=0,
    )
    grades = summary["evaluations"].get("task", {})
    grade = ", ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in grades.items())
    left_out = {**summary["skipped"], **summary.get("failed_reasons", {})}
    return (
        name,
        slots,
        str(summary["finished"]),
        f"{summary['exact_rate']:.0%}",
        f"{summary['certified_rate']:.0%}",
        "" if summary["median_steps"] is None else f"{summary['median_steps']:g}",
        grade,
        str(longest or ""),
        ", ".join(f"{count} {reason}" for reason, count in left_out.items()),
        f"{summary['wall_seconds']:.0f}",
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder of the real data sets")
    add("--sets", nargs="+", choices=SETS, default=list(SETS), help="default all")
    add("--slots", nargs="+", type=int, default=[32, 4, 1], metavar="K", help="default 32 4 1")
    add("--examples", type=int, default=50, metavar="N", help="of each set; default 50")
    add("--attempts", type=int, default=1, metavar="N", help="starts an example; default 1")
    add("--max-steps", type=int, default=300, metavar="N", help="of an attempt; default 300")
    add("--generator", default="nano", metavar="NAME", help="default nano")
    add("--optimizer", default="adam", metavar="NAME", help="of each attempt; default adam")
    add("--out", type=Path, default=Path("runs/tasks"), metavar="DIR", help="default runs/tasks")
    add("--no-track", action="store_true", help="do not track with MLflow")
    asked = parser.parse_args(arguments)
    asked.tracker = None if asked.no_track else find("tracker", "mlflow")()
    generator = find("generator", asked.generator)()
    for slots in asked.slots:
        for name in asked.sets:
            run = measure(name, slots, asked)
            print(" | ".join(row(run, generator)), flush=True)
    done = sorted(path.parent for path in asked.out.glob(f"*-k*/{SUMMARY}"))
    done.sort(key=lambda run: (list(SETS).index(run.name.rpartition("-k")[0]), _slots(run)))
    (asked.out / "tasks.md").write_text(table([row(run, generator) for run in done]))
    print(f"The table is in {asked.out / 'tasks.md'}")


def _slots(run: Path) -> int:
    return int(run.name.rpartition("-k")[2])


if __name__ == "__main__":
    main()
