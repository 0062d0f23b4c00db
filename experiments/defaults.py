"""What a setting of an optimiser costs on a model: row-steps a pair, whatever it came to.

One line for each K and setting. A setting is `name=value` pairs of the optimiser's fields with
spaces between them, nothing for the defaults; rows that never get exact count with all their steps.

    python experiments/defaults.py --path dev-v2.0.json
    python experiments/defaults.py --path dev-v2.0.json --model FOLDER --dtype bfloat16 \\
        --slots 32 4 --try "" "text_scale=0" "lr=0.95 betas=[0.6,0.9] hypergradient=0"
"""

from __future__ import annotations

import argparse
import tomllib
from itertools import islice
from statistics import median
from time import perf_counter

from kit import generator

import dcm

# Most steps of a row.
STEPS = {1: 300, 4: 300, 8: 200, 32: 100}


def setting(text: str) -> dict[str, object]:
    """The fields that a setting names."""
    return tomllib.loads("\n".join(text.split())) if text else {}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", default="squad", help="(default: %(default)s)")
    add("--path", required=True, help="its file")
    add("--first", type=int, default=1000, help="pairs left out before (default: %(default)s)")
    add("--pairs", type=int, default=100, help="(default: %(default)s)")
    add("--model", help="folder of a Hugging Face model (default: the bundled one)")
    add("--dtype", default="float32", help="(default: %(default)s)")
    add("--device", default="auto", help="(default: %(default)s)")
    add("--optimizer", default="adam", help="(default: %(default)s)")
    add("--slots", type=int, nargs="+", default=[32, 8, 4, 1], metavar="K")
    add("--try", nargs="+", default=[""], dest="settings", metavar="SETTING")
    parser.set_defaults(generator="nano")
    asked = parser.parse_args()
    model = generator(asked)
    source = dcm.find("dataset", asked.dataset)(path=asked.path)
    pairs = list(islice(source, asked.first, asked.first + asked.pairs))
    print(
        f"{'K':>3} {'exact':>7} {'median':>7} {'p90':>5} {'row-steps/pair':>15} {'s':>5}  setting"
    )
    for slots in asked.slots:
        for text in asked.settings:
            began = perf_counter()
            optimizer = dcm.find("optimizer", asked.optimizer)(**setting(text))
            most = STEPS.get(slots, 300)
            solved = dcm.solve(model, pairs, optimizer=optimizer, slots=slots, max_steps=most)
            outcomes = list(solved)
            taken = sorted(each.row_steps for each in outcomes)
            exact = sum(each.exact for each in outcomes) / len(outcomes)
            print(
                f"{slots:>3} {exact:>7.1%} {median(taken):>7.1f} {taken[int(0.9 * len(taken))]:>5} "
                f"{sum(taken) / len(taken):>15.1f} {perf_counter() - began:>5.0f}  "
                f"{text or 'defaults'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
