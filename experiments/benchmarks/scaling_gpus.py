"""Are two GPUs twice as fast as one? Whole runs by the engine `local`, every worker's part shown.

    smollm2   a trained model on SQuAD's texts, by one worker and by two
    shape     the same of a 7B shape with random weights, whose rows end after 4 to 11 steps
    unequal   two workers of that shape whose cards have unequal memory: is each busy?
    nano      1,000 and 10,000 pairs by one worker: does a pair cost the same, is memory flat?

    python experiments/benchmarks/scaling_gpus.py --path dev-v2.0.json --model FOLDER
    python experiments/benchmarks/scaling_gpus.py --device cpu --rows 60 --parts smollm2 nano

Each run is a process of its own that starts workers, which load the model. On a GPU a run of a few
rows comes first and is not counted: whoever is the first on a machine compiles the kernels for all.

    whole     seconds from the start of the run to its end
    solving   seconds from the first worker that had its model to the last result; loading is left
              out, warming up and the last rows, which leave lanes unfilled, are counted
    middle    rows a second between a fifth and four fifths of the rows, where all are busy

A worker is busy while it waits neither for examples nor for its results to be taken. Below the
table stands what each did in every tenth of the solving time, how many lanes it found and when, and
when there were no steps for two seconds: it compiled, certified or had no rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from common import Record, table

ROOT = Path(__file__).parents[2]
GIB = "DCM_BENCH_GIB"
STILL = 2.0  # seconds
FEW = 64  # rows of the run that is not counted


def experiment(kind: str, rows: int, args: argparse.Namespace) -> Any:
    """What a part runs."""
    import dcm

    cpu = args.device == "cpu"
    if kind == "nano":
        return dcm.Experiment(
            generator=dcm.find("generator", "nano")(device=args.device, dtype="float32"),
            dataset=dcm.find("dataset", "arithmetic")(count=rows),
            slots=8,
            lanes=32 if cpu else 256,
        )
    if kind == "smollm2":
        name = "transformers" if args.model else "nano"
        more = {"model": str(args.model)} if args.model else {}
        dtype = "float32" if cpu else "bfloat16"
        generator = dcm.find("generator", name)(device=args.device, dtype=dtype, **more)
        return dcm.Experiment(
            generator=generator,
            dataset=texts(rows, args, shorten=False),
            slots=32,
            baseline_draws=0,
            lanes=args.lanes,
        )
    shape = dcm.find("generator", "bench-shape")(
        args.shape, "float32" if cpu else "bfloat16", args.device, compiled=args.compiled
    )
    return dcm.Experiment(
        generator=shape,
        dataset=texts(rows, args, shorten=True),
        optimizer=dcm.find("optimizer", "adam")(),
        criterion=dcm.find("criterion", "bench-after")(),
        evaluators=(),
        slots=32,
        layout="suffix",
        baseline_draws=0,
        lanes=args.lanes,
        on_error="skip",
    )


def texts(rows: int, args: argparse.Namespace, *, shorten: bool) -> Any:
    """The first pairs of SQuAD's files, one after the other, and again where there are fewer."""
    import dcm

    if args.path:
        files = [dcm.find("dataset", "squad")(path=str(path)) for path in args.path]
        source = dcm.find("dataset", "concatenate")(files)
    else:
        source = dcm.find("dataset", "arithmetic")(count=rows)
    return dcm.find("dataset", "bench-first")(source, rows, shorten)


Seen = tuple[float, int, int, int]
"""When a worker had finished how many rows, in how many row-steps, with how many lanes."""


def timeline(seen: list[Seen], start: float, stop: float) -> Record:
    """What a worker did between two times, in tenths of them."""
    ends = [start + (stop - start) * number / 10 for number in range(11)]
    until = [
        next((each for each in reversed(seen) if each[0] <= end), (0.0, 0, 0, 0)) for end in ends
    ]
    lanes = [
        (round(now[0] - start, 1), now[3])
        for before, now in pairwise([(0.0, 0, 0, 0), *seen])
        if now[3] != before[3]
    ]
    moved = [seen[0], *(b for a, b in pairwise(seen) if b[2] != a[2])] if seen else []
    times = [*(each[0] for each in moved), stop]
    return {
        "finished": [b[1] - a[1] for a, b in pairwise(until)],
        "row_steps_per_second": [
            round((b[2] - a[2]) * 10 / (stop - start)) for a, b in pairwise(until)
        ],
        "lanes_from": lanes,
        "without_steps": [
            (round(a - start, 1), round(b - start, 1)) for a, b in pairwise(times) if b - a > STILL
        ],
    }


class Watch:
    """Notes when rows are finished, host memory, and how busy the cards say they are."""

    def __init__(self) -> None:
        self.ready: float | None = None
        self.marks: list[tuple[float, int]] = []
        self.host: list[tuple[int, int]] = []  # finished, MiB of this process and all workers
        self.workers: dict[str, list[Seen]] = {}
        self.cards: dict[int, list[tuple[float, int]]] = {}
        self.over = Event()
        Thread(target=self._look_at_cards, daemon=True).start()

    def __call__(self, progress: Any) -> None:
        if progress.looked_at is not None:
            return
        now = time.perf_counter()
        if self.ready is None and any(each.device for each in progress.workers):
            self.ready = now
        for each in progress.workers:
            seen = self.workers.setdefault(each.name, [])
            state = each.finished, each.row_steps, each.lanes
            if each.device and (not seen or seen[-1][1:] != state):
                seen.append((now, *state))
        if not self.marks or progress.finished > self.marks[-1][1]:
            self.marks.append((now, progress.finished))
            pids = [os.getpid(), *(each.pid for each in progress.workers if each.pid)]
            self.host.append((progress.finished, sum(map(resident, pids))))

    def _look_at_cards(self) -> None:
        with suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            handles = [
                pynvml.nvmlDeviceGetHandleByIndex(number)
                for number in range(pynvml.nvmlDeviceGetCount())
            ]
            while not self.over.wait(0.2):
                for number, handle in enumerate(handles):
                    used = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                    self.cards.setdefault(number, []).append((time.perf_counter(), used))


def resident(pid: int) -> int:
    """MiB of memory that a process holds."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) >> 10
    return 0


def one(kind: str, rows: int, workers: int, args: argparse.Namespace) -> Record:
    """Figures of one run, in this process."""
    watch, told = Watch(), []
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        summary = experiment(kind, rows, args).run(
            Path(folder, "run"),
            engine="local",
            workers=workers,
            on_progress=watch,
            warn=told.append,
        )
        whole = time.perf_counter() - began
    watch.over.set()
    start, last = watch.ready or began, watch.marks[-1][0]
    count = summary["finished"]
    first, stop = (
        next(mark for mark in watch.marks if mark[1] >= share * count) for share in (0.2, 0.8)
    )
    middle = (stop[1] - first[1]) / (stop[0] - first[0]) if stop[0] > first[0] else None
    parts = [each for each in summary["workers"] if each["finished"]]
    spread = [next((mib for done, mib in watch.host if done >= s * count), 0) for s in (0.2, 0.9)]
    cards = {
        str(number): sum(used for when, used in seen if first[0] <= when <= stop[0])
        / max(1, sum(first[0] <= when <= stop[0] for when, _ in seen))
        for number, seen in watch.cards.items()
    }
    return {
        "part": kind,
        "rows": count,
        "workers": workers,
        "certified": round(summary["certified_rate"] * count),
        "median_steps": summary["median_steps"],
        "row_steps": summary["row_steps"],
        "lanes": [each["lanes"] for each in parts],
        "finished": [each["finished"] for each in parts],
        "busy": [1 - each["waited"] / each["seconds"] for each in parts],
        "cards_busy": cards,
        "timelines": [timeline(watch.workers[each["name"]], start, last) for each in parts],
        "peak_gib": [each["peak_memory_bytes"] / 2**30 for each in parts],
        "host_mib_at_a_fifth_and_at_nine_tenths": spread,
        "whole_seconds": whole,
        "solving_seconds": last - start,
        "rows_per_second": count / (last - start),
        "middle_rows_per_second": middle,
        "device": summary["device"],
        "warnings": told,
    }


def in_fresh_process(kind: str, rows: int, workers: int, args: argparse.Namespace) -> Record:
    """The same in a process of its own."""
    options = [
        f"--{name}={value}"
        for name in ("model", "device", "shape", "lanes")
        if (value := getattr(args, name)) is not None
    ]
    options += ["--path", *map(str, args.path)] if args.path else []
    options += ["--compiled"] if args.compiled else []
    command = [sys.executable, __file__, *options, f"--one={kind},{rows},{workers}"]
    environment = {**os.environ, **({GIB: args.gib} if kind == "unequal" else {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    record: Record = json.loads(done.stdout.splitlines()[-1])
    return record


def announce(folder: Path) -> None:
    """Let this process and its workers find the benchmark's components, and dcm's own where it is
    not installed."""
    import tomllib

    wanted = {"workers_plugin": "[dcm]\nbench = workers_plugin\n"}
    try:
        distribution("dynamic-context-memory")
    except PackageNotFoundError:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = [f"{key} = {value}" for key, value in project["entry-points"]["dcm"].items()]
        wanted["dynamic_context_memory"] = "\n".join(["[dcm]", *lines, ""])
    for name, text in wanted.items():
        place = folder / f"{name}-0.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
        (place / "entry_points.txt").write_text(text)
    here = [str(folder), str(ROOT / "src"), str(ROOT / "plugins"), str(Path(__file__).parent)]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*here, *([before] if before else [])])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = ["smollm2", "shape", "unequal", "nano"]
    parser.add_argument("--parts", nargs="+", choices=every, default=every)
    parser.add_argument(
        "--path", type=Path, nargs="+", help="official JSON files of SQuAD (default: sums)"
    )
    parser.add_argument("--model", type=Path, help="folder of SmolLM2 (default: nano)")
    parser.add_argument("--shape", default="qwen2.5-7b", help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=2000, help="(default: %(default)s)")
    parser.add_argument("--shape-rows", type=int, help="default: as many")
    parser.add_argument("--nano-rows", type=int, nargs=2, default=[1000, 10000], metavar="N")
    parser.add_argument("--gpus", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--gib", default="72,32", help="of unequal cards (default: %(default)s)")
    parser.add_argument("--lanes", type=int, help="default: found")
    parser.add_argument("--compiled", action="store_true", help="layers of the shape")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a fresh process does
    args = parser.parse_args()
    if args.one:
        kind, rows, workers = args.one.split(",")
        print(json.dumps(one(kind, int(rows), int(workers), args)))
        return
    shape_rows = args.shape_rows or args.rows
    wanted = {
        "smollm2": [(args.rows, 1), (args.rows, args.gpus)],
        "shape": [(shape_rows, 1), (shape_rows, args.gpus)],
        "unequal": [(shape_rows, 2)],
        "nano": [(rows, 1) for rows in args.nano_rows],
    }
    found: list[Record] = []
    warm: set[str] = set()
    with TemporaryDirectory() as folder:
        announce(Path(folder))
        for kind in args.parts:
            model = "shape" if kind == "unequal" else kind
            runs = [(kind, *each) for each in wanted[kind]]
            if args.device == "cuda" and model not in warm:
                warm.add(model)
                runs.insert(0, (model, FEW, 1))
            uncounted = len(runs) - len(wanted[kind])
            for number, (what, rows, workers) in enumerate(runs):
                try:
                    record = in_fresh_process(what, rows, workers, args)
                except subprocess.CalledProcessError as error:
                    print(f"{what}, {rows} rows, {workers} workers failed: {error}", flush=True)
                    continue
                if number < uncounted:
                    continue
                found.append(record)
                print(report(found), flush=True)
                if args.out:
                    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def report(found: list[Record]) -> str:
    """The figures as a table, and ratios."""
    head = ["", "rows", "workers", "certified", "whole s", "solving s", "rows/s", "middle rows/s"]
    head += ["lanes", "finished", "busy %", "cards %", "peak GiB", "host MiB"]
    lines = [
        [
            each["part"],
            f"{each['rows']:,}",
            str(each["workers"]),
            f"{each['certified']:,}",
            each["whole_seconds"],
            each["solving_seconds"],
            each["rows_per_second"],
            each["middle_rows_per_second"],
            "+".join(map(str, each["lanes"])),
            "+".join(map(str, each["finished"])),
            "+".join(f"{100 * share:.1f}" for share in each["busy"]),
            "+".join(f"{share:.0f}" for share in each["cards_busy"].values()) or "-",
            "+".join(f"{gib:.1f}" for gib in each["peak_gib"]),
            " to ".join(map(str, each["host_mib_at_a_fifth_and_at_nine_tenths"])),
        ]
        for each in found
    ]
    text = ["", found[-1]["device"], table(head, lines)]
    for number, line in enumerate(found[-1]["timelines"]):
        text += [f"worker {number} of the last run"]
        text += [f"    {name.replace('_', ' ')}: {told}" for name, told in line.items()]
    for kind in ("smollm2", "shape"):
        runs = [each for each in found if each["part"] == kind]
        if len(runs) == 2:
            ratios = ", ".join(
                f"{name} {a / b:.2f}"
                for name, a, b in (
                    ("whole", runs[0]["whole_seconds"], runs[1]["whole_seconds"]),
                    ("solving", runs[0]["solving_seconds"], runs[1]["solving_seconds"]),
                    (
                        "middle",
                        runs[1]["middle_rows_per_second"] or 0,
                        runs[0]["middle_rows_per_second"] or 1,
                    ),
                )
            )
            text.append(f"{kind}: {runs[1]['workers']} workers by one: {ratios}")
    nano = [each for each in found if each["part"] == "nano"]
    if len(nano) == 2:
        text.append(
            f"nano: rows/s of the many by those of the few: "
            f"{nano[1]['rows_per_second'] / nano[0]['rows_per_second']:.3f}"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
