"""How many content vectors does an example need: K against rate, loss, steps, time and nats.

    python experiments/k_sweep.py
    python experiments/k_sweep.py --generator smollm2 --data ../shared/data --set squad --pairs 20

A run for each K, of the same examples, in `--out`; the same command goes on where it stopped, and
other values of --slots amend what is there. `k-sweep.md` has the table, `sweep.png` the figure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparing import (
    certified,
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

from dcm.protocol.statistics import bootstrap
from dcm.sweeping import grid
from dcm.sweeping.rows import DONE

SLOTS = (1, 2, 4, 8, 16, 32, 64, 128)
RATES = (0.9, 0.99)


def smallest(
    flags: Mapping[int, Mapping[str, bool]], rate: float, *, seed: int = 0
) -> dict[str, float | None]:
    """The smallest K that certifies a share of the examples, with its 95 % interval.

    The examples are resampled, the same for all K. Where no K reaches the rate it is infinite,
    which JSON writes as None.

    Args:
        flags: K -> id -> whether the example was certified with so many vectors.
        rate: the share to reach.
        seed: of the resamples.
    """
    slots = sorted(flags)
    ids = sorted(set.intersection(*(set(each) for each in flags.values())))
    # [values of K, examples]
    known = np.array([[flags[k][each] for each in ids] for k in slots], dtype=np.float64)

    def statistic(places: Any) -> Any:
        rates = known[:, places.astype(np.int64)].mean(axis=-1)
        reached = rates >= rate
        first = np.array([*slots, np.inf])[reached.argmax(axis=0)]
        return np.where(reached.any(axis=0), first, np.inf)

    # Resamples are compared, never averaged: a quantile between K and infinity is infinite.
    with np.errstate(invalid="ignore"):
        found = bootstrap(np.arange(len(ids)), statistic, seed=seed)
    ends = (found.value, found.low, found.high)
    value, low, high = (each if each is not None and np.isfinite(each) else None for each in ends)
    return {"rate": rate, "value": value, "low": low, "high": high}


def said(found: Mapping[str, float | None], most: int) -> str:
    """`smallest` in a sentence."""
    low, high = (f"over {most}" if found[e] is None else f"{found[e]:g}" for e in ("low", "high"))
    value = f"no K up to {most}" if found["value"] is None else f"K = {found['value']:g}"
    return f"{100 * float(found['rate'] or 0):.0f} % certified: {value} (95 %: {low} to {high})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep; the exit status."""
    parser = options(__doc__, "runs/k-sweep", 100)
    parser.add_argument("--generator", default="nano", metavar="NAME", help="or a model's folder")
    parser.add_argument("--set", default="samples", metavar="NAME", help="of examples")
    parser.add_argument("--slots", type=int, nargs="+", default=SLOTS, metavar="K", help="values")
    asked = parser.parse_args(arguments)
    model = generator(asked.generator, asked)
    base = experiment(model, dataset(asked.set, asked), asked.slots[0], asked)
    form = {key: value for key, value in base.describe().items() if key != "slots"}
    rows = run(form, grid(base, {"slots": asked.slots}), asked)
    done = [row for row in rows if row["state"] == DONE]
    table, record = [], []
    for row in done:
        known = information(asked.out / row["cell"], model, row["slots"])
        record.append({**row, **{key: each.as_json() for key, each in known.items()}})
        more = {name.replace("nats_per_", "nats/"): interval(each) for name, each in known.items()}
        table.append({"K": str(row["slots"]), **figures(row, **more)})
    flags = {row["slots"]: certified(asked.out / row["cell"]) for row in done}
    least = [smallest(flags, rate) for rate in RATES] if flags else []
    sentences = [f"{said(each, max(flags))}\n" for each in least]
    text = markdown(table) + "\n" + "\n".join(sentences)
    Path(asked.out / "k-sweep.md").write_text(text, encoding="utf-8")
    values = {"rows": record, "smallest": least}
    Path(asked.out / "k-sweep.json").write_text(json.dumps(values, indent=2), encoding="utf-8")
    print(text)
    print(f"The table is in {asked.out}/k-sweep.md, the figure in {asked.out}/sweep.png")
    return int(len(done) < len(rows))


if __name__ == "__main__":
    sys.exit(main())
