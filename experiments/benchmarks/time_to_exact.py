"""Certified pairs a minute, end to end: dcm's solver and two plain loops, in the same run.

All stop a pair when every token of both its texts is the argmax, or after `--max-steps`; the
solver asks for its default margin on top, the loops ask for none. All have one attempt, and the
time of each includes certification: contents saved, read back and decoded freely. The loops' pairs
are certified all at once, in fewer batches than a loop would need that ends pair by pair.

    solver      dcm.solve, all defaults, no restarts
    loop        one pair at a time, Adam with the solver's learning rate and its start
    plan_loop   one pair at a time, Adam with lr 0.01, a start at the embeddings' scale

    python experiments/benchmarks/time_to_exact.py --path dev-v2.0.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import (
    Cell,
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
from dcm.solver import Stats

# What is printed of each contestant.
ROWS = {
    "pairs": "pairs",
    "exact": "exact",
    "certified": "certified",
    "median_steps": "steps, median",
    "row_steps": "row-steps",
    "seconds": "seconds",
    "row_steps_per_second": "row-steps/s",
    "certified_per_minute": "certified/min",
}


def solver(
    generator: Any, pairs: Sequence[dcm.Example], args: argparse.Namespace, max_steps: int
) -> Record:
    """Figures of `dcm.solve` with one attempt."""
    modes, stats = dcm.Modes(generator, args.layout), Stats()
    with TemporaryDirectory() as folder:
        verify = certifier(generator, modes, Path(folder))
        began = now(generator.device)
        outcomes = list(
            dcm.solve(
                generator,
                pairs,
                # Restarts are the default.
                optimizer=dcm.find("optimizer", "adam")(),
                slots=args.slots,
                max_steps=max_steps,
                lanes=args.lanes,
                modes=modes,
                verify=verify,
                stats=stats,
            )
        )
        seconds = now(generator.device) - began
    return {**figures(outcomes, seconds, stats), "lanes": stats.lanes}


def loop(plain: PlainLoop, pairs: Sequence[dcm.Example]) -> Record:
    """Figures of a loop over pairs."""
    device = plain.generator.device
    with TemporaryDirectory() as folder:
        certify = certifier(plain.generator, plain.modes, Path(folder))
        began = now(device)
        outcomes = certify([plain.run(pair) for pair in pairs])
        seconds = now(device) - began
    return {**figures(outcomes, seconds), "lr": plain.lr}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", required=True, help="official JSON file of SQuAD")
    parser.add_argument("--limit", type=int, default=100, help="pairs (default: %(default)s)")
    parser.add_argument("--loop-limit", type=int, help="pairs of the loops (default: all)")
    parser.add_argument("--max-steps", type=int, default=500, help="(default: %(default)s)")
    parser.add_argument("--lanes", type=int, help="default: what the solver chooses")
    model_options(parser, slots=32)
    args = parser.parse_args()
    generator = nano(args)
    pairs = list(dcm.find("dataset", "squad")(path=args.path, limit=args.limit))
    few = pairs[: args.loop_limit]

    def plain(make: Any, max_steps: int) -> PlainLoop:
        made: PlainLoop = make(generator, dcm.Modes(generator, args.layout), args.slots, max_steps)
        return made

    # What is loaded and chosen at first use is nobody's cost.
    solver(generator, pairs[:2], args, 2)
    loop(plain(PlainLoop.tuned, 2), pairs[:1])
    ours = solver(generator, pairs, args, args.max_steps)
    tuned = loop(plain(PlainLoop.tuned, args.max_steps), few)
    plan = loop(plain(PlainLoop.of_plan, args.max_steps), few)
    rate = "certified_per_minute"
    result = {
        "solver": ours,
        "loop": tuned,
        "plan_loop": plan,
        "ratio": ratio(ours[rate], tuned[rate]),
        "ratio_to_plan": ratio(ours[rate], plan[rate]),
        "hardware": hardware(generator.device),
        "settings": settings(args),
    }
    emit(args, result, report(result, args))


def report(result: Record, args: argparse.Namespace) -> str:
    """The result as a table."""
    contestants = [result[name] for name in ("solver", "loop", "plan_loop")]
    rows: list[list[Cell]] = [
        [label, *(each[key] for each in contestants)] for key, label in ROWS.items()
    ]
    rows.append(["ratio, solver to it", 1, result["ratio"], result["ratio_to_plan"]])
    lines = [
        f"nano, SQuAD, K={args.slots}, {args.layout}, {args.dtype},",
        f"one attempt of at most {args.max_steps} steps, {result['hardware']}",
    ]
    if args.loop_limit is not None:
        lines.append(f"The loops ran on the first {contestants[1]['pairs']} pairs only.")
    head = ["", "solver", f"loop, lr {result['loop']['lr']:.3g}", "plan's loop, lr 0.01"]
    return "\n".join([*lines, "", table(head, rows)])


if __name__ == "__main__":
    main()
