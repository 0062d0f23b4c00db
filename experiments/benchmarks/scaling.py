"""Does a pair cost the same among 100 and among 10,000? Seconds and memory for each count.

Each count is a run of its own process: a whole `Experiment.run`, with baselines, certification,
evaluation and all that is recorded, on generated arithmetic, after a smaller run that warms up.
The lanes are fixed and fewer than the smallest count, so that every count fills them. Seconds a
pair that stay within a tenth, and peaks that do not grow, say that size costs nothing. The plain
loop goes over the first few pairs, with the solver's learning rate and start; it records nothing.

    python experiments/benchmarks/scaling.py
    python experiments/benchmarks/scaling.py --counts 100 1000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import (
    PlainLoop,
    Record,
    certifier,
    emit,
    figures,
    hardware,
    model_options,
    nano,
    now,
    ratio,
    settings,
    table,
)

import dcm
from dcm.running.provenance import peak_memory


def problems(count: int, seed: int = 0) -> Any:
    """That many generated problems; no file is read."""
    return dcm.find("dataset", "arithmetic")(count=count, seed=seed)


def one_count(args: argparse.Namespace, count: int) -> Record:
    """Cost of one run, in this process."""
    generator = nano(args)

    def run(dataset: Any, folder: Path) -> Record:
        return dcm.Experiment(
            generator=generator,
            dataset=dataset,
            slots=args.slots,
            lanes=args.lanes,
            layout=args.layout,
        ).run(folder)

    with TemporaryDirectory() as folder:
        run(problems(args.warm_up, seed=1), Path(folder, "warm-up"))
        began = now(generator.device)
        summary = run(problems(count), Path(folder, "run"))
        seconds = now(generator.device) - began
    certified = round(summary["certified_rate"] * count)
    return {
        "pairs": count,
        "exact": round(summary["exact_rate"] * count),
        "certified": certified,
        "row_steps": summary["row_steps"],
        "useful_share": summary["useful_row_steps"] / summary["row_steps"],
        "seconds": seconds,
        "seconds_per_pair": seconds / count,
        "row_steps_per_second": summary["row_steps"] / seconds,
        "certified_per_minute": 60 * certified / seconds,
        "peak_memory_bytes": peak_memory(str(generator.device)),
    }


def in_fresh_process(args: argparse.Namespace, count: int) -> Record:
    """Cost of one run, in a process whose peak is its own."""
    options = [
        f"--{name}={value}"
        for name in ("dtype", "compute", "device", "slots", "layout", "lanes", "warm-up")
        if (value := getattr(args, name.replace("-", "_"))) is not None
    ]
    command = [sys.executable, __file__, *options, "--json", f"--one={count}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    record: Record = json.loads(done.stdout)
    return record


def loop(args: argparse.Namespace, count: int) -> tuple[Record, str]:
    """Figures of the plain loop over the first problems, and what it ran on."""
    generator = nano(args)
    plain = PlainLoop.tuned(generator, dcm.Modes(generator, args.layout), args.slots, 500)
    with TemporaryDirectory() as folder:
        certify = certifier(generator, plain.modes, Path(folder))
        plain.run(problems(1, seed=1)[0])
        began = now(generator.device)
        outcomes = certify([plain.run(pair) for pair in problems(count)])
        seconds = now(generator.device) - began
    return figures(outcomes, seconds), hardware(generator.device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10000], metavar="N")
    parser.add_argument("--lanes", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--loop-limit", type=int, default=20, help="pairs (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=64, help="pairs (default: %(default)s)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # what a fresh process does
    model_options(parser, slots=8)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_count(args, args.one)))
        return
    counts = [in_fresh_process(args, count) for count in args.counts]
    for each in counts:
        each["peak_growth_bytes"] = each["peak_memory_bytes"] - counts[0]["peak_memory_bytes"]
    plain, machine = loop(args, args.loop_limit)
    costs = [each["seconds_per_pair"] for each in counts]
    result = {
        "solver": counts[-1],
        "loop": plain,
        "ratio": ratio(counts[-1]["certified_per_minute"], plain["certified_per_minute"]),
        "counts": counts,
        # How much dearer the dearest count is than the cheapest.
        "cost_spread": max(costs) / min(costs) - 1,
        "hardware": machine,
        "settings": settings(args),
    }
    emit(args, result, report(result, args))


def report(result: Record, args: argparse.Namespace) -> str:
    """The result as a table."""
    mebibyte = 2**20
    head = ["pairs", "certified", "ms/pair", "row-steps/s", "useful", "peak MiB", "growth MiB"]
    rows = [
        [
            f"{each['pairs']:,}",
            each["certified"],
            1000 * each["seconds_per_pair"],
            each["row_steps_per_second"],
            f"{each['useful_share']:.1%}",
            each["peak_memory_bytes"] / mebibyte,
            each["peak_growth_bytes"] / mebibyte,
        ]
        for each in result["counts"]
    ]
    plain = result["loop"]
    pair = 1000 * plain["seconds"] / plain["pairs"]
    loop_row = [f"loop, {plain['pairs']}", plain["certified"], pair, plain["row_steps_per_second"]]
    last = "-" if result["ratio"] is None else f"{result['ratio']:.1f}"
    return "\n".join(
        [
            f"nano, arithmetic, K={args.slots}, {args.lanes} lanes, {args.layout}, {args.dtype},",
            result["hardware"],
            "",
            table(head, [*rows, [*loop_row, None, None, None]]),
            "",
            f"spread of cost  {result['cost_spread']:.1%}, the dearest count over the cheapest",
            f"ratio           {last}, certified pairs a minute, the last count to the loop",
        ]
    )


if __name__ == "__main__":
    main()
