"""The same table over data sets, ARC among them: rate, loss, steps, time and nats at the same K.

    python experiments/dataset_comparison.py --data ../shared/data
    python experiments/dataset_comparison.py --data ../shared/data --sets squad arc --slots 64

The sets are those of `tasks.py`, and `samples`. The same command goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from comparing import (
    dataset,
    experiment,
    figures,
    generator,
    information,
    interval,
    markdown,
    options,
    run,
)
from tasks import SETS

from dcm.serial import describe
from dcm.sweeping import Cell


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the sets; the exit status."""
    parser = options(__doc__, "runs/datasets", 20)
    names = ["samples", *SETS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--generator", default="nano", metavar="NAME", help="or a model's folder")
    parser.add_argument("--slots", type=int, nargs="+", default=[8], metavar="K", help="values")
    asked = parser.parse_args(arguments)
    if asked.data is None:
        asked.sets = [name for name in asked.sets if name in ("samples", "arithmetic")]
        asked.data = Path()
    model = generator(asked.generator, asked)
    cells, known = [], {}
    for name in asked.sets:
        examples = dataset(name, asked)
        for slots in asked.slots:
            made = experiment(model, examples, slots, asked)
            cell = Cell({"dataset": describe(examples), "slots": slots}, made)
            cells.append(cell)
            known[cell.name] = name
    form = cells[0].experiment.describe()
    shared = {key: value for key, value in form.items() if key not in ("slots", "dataset")}
    rows = run(shared, cells, asked)
    table = []
    for row in rows:
        nats = ""
        if row["pairs"]:
            nats = interval(information(asked.out / row["cell"], model, row["slots"])["nats"])
        name = known.get(row["cell"], row["cell"])
        table.append({"data": name, "K": str(row["slots"]), **figures(row, nats=nats)})
    text = markdown(table)
    Path(asked.out / "datasets.md").write_text(text, encoding="utf-8")
    print(text)
    return int(any(row["state"] != "done" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
