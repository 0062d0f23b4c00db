"""The same table over models: rate, loss, steps, time and nats at the same K and examples.

    python experiments/model_comparison.py
    python experiments/model_comparison.py --models nano smollm2 /models/gemma-3-270m --random

A model is a generator's name or a folder in Hugging Face's layout; `--random` adds each with the
weights of its initialisation, which know no language. The same command goes on where it stopped.
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

from dcm import find
from dcm.serial import describe
from dcm.sweeping import Cell


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the models; the exit status."""
    parser = options(__doc__, "runs/models", 40)
    parser.add_argument(
        "--models", nargs="+", default=["nano"], metavar="NAME", help="names or folders"
    )
    parser.add_argument("--random", action="store_true", help="and each with random weights")
    parser.add_argument("--set", default="samples", metavar="NAME", help="of examples")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8], metavar="K", help="values")
    asked = parser.parse_args(arguments)
    examples = dataset(asked.set, asked)
    models = {Path(name).name: generator(name, asked) for name in asked.models}
    if asked.random:
        models |= {
            f"{name}, random weights": find("generator", "random-init")(generator=model)
            for name, model in list(models.items())
        }
    cells, names = [], {}
    for name, model in models.items():
        for slots in asked.slots:
            made = experiment(model, examples, slots, asked)
            cell = Cell({"generator": describe(model), "slots": slots}, made)
            cells.append(cell)
            names[cell.name] = (name, model)
    form = cells[0].experiment.describe()
    shared = {key: value for key, value in form.items() if key not in ("slots", "generator")}
    rows = run(shared, cells, asked)
    table = []
    for row in rows:
        name, model = names.get(row["cell"], (row["cell"], None))
        more = {}
        if row["pairs"] and model is not None:
            known = information(asked.out / row["cell"], model, row["slots"])
            more = {"nats": interval(known["nats"]), "width": str(model.width)}
        table.append({"model": name, "K": str(row["slots"]), **figures(row, **more)})
    text = markdown(table)
    Path(asked.out / "models.md").write_text(text, encoding="utf-8")
    print(text)
    return int(any(row["state"] != "done" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
