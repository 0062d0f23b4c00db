"""Which optimiser, rate, start and temperature make K vectors hold the longest texts?

    python experiments/capacity_settings.py --data ../shared/data --model FOLDER --dtype float32
    python experiments/capacity_settings.py --lengths 64 96 --try "adam text_scale=0 lr=0.5"

Each setting optimises the same passages of books, cut to each of `--lengths` tokens, all of them
in one queue. A setting is written as `kit.optimizer` reads it. Settings come in the order in which
they are listed, so that a search cut off by `--seconds` has measured the most promising ones.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from capacity import PREDICTED, Search, tokens
from kit import (
    Deadline,
    OneText,
    Record,
    about,
    books,
    generator,
    optimizer,
    options,
    say,
    solved,
    write,
)

from dcm import Generator

_CONSTANT = "adam text_scale=0 betas=0.6,0.9 hypergradient=0"
SETTINGS = (
    "adam text_scale=0",
    f"{_CONSTANT} lr=18.0",
    "adam text_scale=0 hypergradient=0.05",
    "adam text_scale=0 hypergradient=0.05 lr=18.0",
    f"{_CONSTANT} lr=18.0 half=300",
    f"{_CONSTANT} lr=36.0",
    f"{_CONSTANT} lr=9.0",
    f"{_CONSTANT} lr=4.5",
    f"{_CONSTANT} lr=2.2",
    f"{_CONSTANT} lr=0.75",
    "muon text_scale=0",
    "muon text_scale=0 decay=100",
    "muon text_scale=0 decay=300",
    "muon text_scale=0 decay=100 lr=6.0",
    "muon text_scale=0 decay=100 momentum=0.9",
    "adam text_scale=0 betas=0.9,0.99 hypergradient=0 lr=18.0",
    f"{_CONSTANT} lr=18.0 gradient_temperature=0.5",
    f"{_CONSTANT} lr=18.0 gradient_temperature=0.12",
    f"{_CONSTANT} lr=18.0 gradient_temperature=1.0",
    f"{_CONSTANT} lr=18.0 start_scale=2.0",
    f"{_CONSTANT} lr=18.0 start_scale=0.5",
    f"{_CONSTANT} lr=18.0 start_scale=20.0",
    f"{_CONSTANT} lr=0.75 rank=32",
    f"{_CONSTANT} lr=0.25 rank=32",
    f"{_CONSTANT} lr=2.2 rank=32 half=300",
)


def measure(model: Generator, setting: str, asked: Namespace, deadline: Deadline) -> Record:
    """The texts of all lengths with one setting."""
    began = time.perf_counter()
    longest = max(asked.lengths)
    texts = tokens(model, books(asked.data, asked.texts, 8 * longest, asked.seed), "books")
    examples = [
        Search(id, ids, PREDICTED, length).example(model)
        for id, ids in texts
        for length in asked.lengths
    ]
    found: dict[int, list[Record]] = {length: [] for length in asked.lengths}
    rows = 0
    for outcome in solved(
        model, filter(None, examples), deadline, objective=OneText(), slots=asked.slots,
        optimizer=optimizer(setting), max_steps=asked.max_steps, seed=asked.seed,
        lanes=asked.lanes,
    ):  # fmt: skip
        length = int(outcome.example.id.rpartition("@")[2])
        # A prefix may be a token or two shorter than asked for.
        nearest = min(asked.lengths, key=lambda each: abs(each - length))
        rows += outcome.row_steps
        found[nearest].append(
            {"id": outcome.example.id, "certified": outcome.certified, "exact": outcome.exact,
             "steps": outcome.steps, "loss": outcome.losses.get("text")}
        )  # fmt: skip
    lengths = {}
    for length, each in found.items():
        steps = [one["steps"] for one in each if one["certified"]]
        lengths[str(length)] = {
            "certified": len(steps),
            "exact": sum(one["exact"] for one in each),
            "count": len(each),
            "median_steps": median(steps) if steps else None,
            "texts": each,
        }
    seconds = time.perf_counter() - began
    return {"setting": setting, "lengths": lengths, "row_steps": rows, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure setting after setting."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--slots", type=int, default=1, metavar="K", help="default 1")
    add("--lengths", nargs="+", type=int, default=[64, 96, 128], metavar="T", help="in tokens")
    add("--texts", type=int, default=32, metavar="N", help="passages; default 32")
    add("--max-steps", type=int, default=1000, metavar="N", help="default 1,000")
    add("--try", nargs="+", dest="settings", default=list(SETTINGS), metavar="SETTING")
    asked = parser.parse_args(arguments)
    deadline = Deadline(asked.seconds)
    model = generator(asked)
    found: list[Record] = []
    for setting in asked.settings:
        record = measure(model, setting, asked, deadline)
        if deadline.passed:  # a part of a setting is worth nothing
            say("The time is up")
            break
        found.append(record)
        shares = ", ".join(
            f"{length}: {each['certified']}/{each['count']} in {each['median_steps'] or '-'}"
            for length, each in record["lengths"].items()
        )
        say(f"{setting}: {shares}; {record['row_steps']} row-steps, {record['seconds']:.0f} s")
        write(asked.out, about(asked, model, settings=found, seconds=deadline.spent))
    say(f"All figures are in {asked.out}")


if __name__ == "__main__":
    main()
