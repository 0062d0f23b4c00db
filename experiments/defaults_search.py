"""Which settings of `adam` take the fewest row-steps, and how far its defaults are from the best.

For each K settings are drawn at random around the defaults, each runs on the same pairs, all rows
of one gradient temperature in one queue. Then the defaults and the best of the search run on pairs
that decided nothing: on these alone they are compared, pair by pair.

    python experiments/defaults_search.py --path dev-v2.0.json --slots 32 --settings 8
    python experiments/defaults_search.py --path dev-v2.0.json --model FOLDER --dtype bfloat16
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import attrs
import torch
from defaults import setting
from kit import generator, say, write
from torch import Tensor

import dcm
from dcm import Example, Optimizer, RowKey, Space
from dcm.protocol.statistics import paired_difference
from dcm_optimizers.adam import Adam, gentleness, usual_steepness

# Most steps of a row, and the temperatures that are tried.
STEPS = {1: 300, 4: 150, 8: 100, 32: 60}
TEMPERATURES = {
    1: (0.125, 0.25, 0.5),
    4: (0.25, 0.5, 1.0),
    8: (0.35, 0.7, 1.0),
    32: (0.5, 1.0, 2.0),
}
BETAS = ((0.6, 0.9), (0.7, 0.9), (0.8, 0.9), (0.8, 0.95), (0.9, 0.95))

# The number of a setting stands in a content's first coordinate, in so small a unit.
_MARK = 2.0**-10


@attrs.frozen
class Setting:
    """What `adam` chooses by K; its learning rate is made for rows with a usual first gradient."""

    lr: float
    beta1: float
    beta2: float
    hypergradient: float
    start_scale: float
    text_scale: float
    temperature: float

    def __str__(self) -> str:
        return (
            f"lr={self.lr:.3g} betas={self.beta1:g},{self.beta2:g} "
            f"hypergradient={self.hypergradient:.3g} start_scale={self.start_scale:.3g} "
            f"text_scale={self.text_scale:.3g} gradient_temperature={self.temperature:.3g}"
        )


class State(NamedTuple):
    """Of each row: the moments and the last direction [R, K, D]; the rest [R]."""

    first: Tensor
    second: Tensor
    direction: Tensor
    rate: Tensor
    steps: Tensor
    beta1: Tensor
    beta2: Tensor
    share: Tensor
    usual: Tensor


@attrs.frozen(eq=False)
class Drawn(Optimizer):
    """`adam` whose rows have settings of their own: that of number n where an id is `n/...`."""

    settings: tuple[Setting, ...]

    def temperature(self, slots: int) -> float:
        return self.settings[0].temperature

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        rows = []
        for key, text in zip(keys, texts, strict=True):
            number, _, id_ = key.example_id.partition("/")
            own = self.settings[int(number)]
            adam = Adam(start_scale=own.start_scale, text_scale=own.text_scale)
            row = adam.start([attrs.evolve(key, example_id=id_)], space, [text])[0]
            row[0, 0] = int(number) * _MARK * space.scale
            rows.append(row)
        return torch.stack(rows)

    def init(self, content: Tensor, space: Space) -> State:
        numbers = (content[:, 0, 0] / (_MARK * space.scale)).round().long()
        table = content.new_tensor(
            [[s.lr * space.scale, s.beta1, s.beta2, s.hypergradient] for s in self.settings]
        )
        rate, beta1, beta2, share = table[numbers].unbind(1)
        zeros = torch.zeros_like(content)
        steep = usual_steepness(space.slots) / space.scale
        usual = content.new_tensor([steep * (s.text_scale != 0) for s in self.settings])[numbers]
        return State(
            zeros, zeros.clone(), zeros.clone(), rate, torch.zeros_like(rate), beta1, beta2, share,
            usual,
        )  # fmt: skip

    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        def wide(value: Tensor) -> Tensor:
            return value[:, None, None]

        old, steps = state, state.steps + 1
        first = gradient + wide(old.beta1) * (old.first - gradient)
        second = gradient.square() + wide(old.beta2) * (old.second - gradient.square())
        root = (second / wide(1 - old.beta2**steps)).sqrt() + 1e-8
        direction = first / wide(1 - old.beta1**steps) / root
        dot = (gradient * old.direction).sum((1, 2))
        lengths = gradient.norm(dim=(1, 2)) * old.direction.norm(dim=(1, 2))
        cosine = dot / lengths.clamp(min=torch.finfo(dot.dtype).tiny)
        own = old.rate * gentleness(gradient, old.usual)
        rate = torch.where(old.steps == 0, own, old.rate) * (1 + old.share * cosine)
        moved = content - wide(rate) * direction
        return moved, State(first, second, direction, rate, steps, *state[5:])


def defaults(slots: int) -> Setting:
    """What `adam` chooses for K slots."""
    adam = Adam()
    chosen = adam.chosen(slots)
    return Setting(
        chosen["lr"], *adam.betas, chosen["hypergradient"], chosen["start_scale"],
        chosen["text_scale"], chosen["gradient_temperature"],
    )  # fmt: skip


def drawn(slots: int, temperature: float, count: int, seed: int) -> list[Setting]:
    """Settings around the defaults."""
    chance = random.Random(f"{seed} {slots} {temperature}")
    base = defaults(slots)

    def around(value: float, times: float) -> float:
        return value * times ** chance.uniform(-1, 1)

    found = []
    for _ in range(count):
        texts = chance.choice((0.0, 0.5, 1.0, 2.0)) * max(base.text_scale, 0.5)
        alone = dcm.find("optimizer", "adam")(text_scale=texts).chosen(slots)["start_scale"]
        found.append(
            Setting(
                around(base.lr, 5.0),
                *chance.choice(BETAS),
                min(0.8, around(base.hypergradient, 4.0)) if chance.random() > 0.1 else 0.0,
                around(alone, 4.0),
                texts,
                temperature,
            )
        )
    return found


@attrs.frozen
class Tried:
    """What a setting came to."""

    setting: Setting
    steps: tuple[int, ...]
    exact: tuple[bool, ...]

    @property
    def cost(self) -> float:
        """Row-steps for each exact pair."""
        return sum(self.steps) / max(1, sum(self.exact))

    def record(self) -> dict[str, Any]:
        return {
            **attrs.asdict(self.setting),
            "cost": self.cost,
            "exact": sum(self.exact) / len(self.exact),
            "median": median(self.steps),
            "p90": sorted(self.steps)[int(0.9 * len(self.steps))],
        }


def run(
    model: dcm.Generator, pairs: Sequence[Example], slots: int, settings: Sequence[Setting]
) -> list[Tried]:
    """All settings on all pairs, those of one temperature together."""
    found: dict[Setting, Tried] = {}
    for temperature in sorted({each.temperature for each in settings}):
        own = tuple(each for each in settings if each.temperature == temperature)
        rows = [
            attrs.evolve(pair, id=f"{number}/{pair.id}")
            for pair in pairs
            for number in range(len(own))
        ]
        ended = {
            each.example.id: each
            for each in dcm.solve(
                model, rows, optimizer=Drawn(own), slots=slots, max_steps=STEPS[slots]
            )
        }
        for number, tried in enumerate(own):
            its = [ended[f"{number}/{pair.id}"] for pair in pairs]
            found[tried] = Tried(
                tried, tuple(e.row_steps for e in its), tuple(e.exact for e in its)
            )
    return [found[each] for each in settings]


def more(one: Tried, other: Tried) -> str:
    """How many row-steps more `other` takes than `one`, paired."""
    told = paired_difference(one.steps, other.steps)
    return f"{told.value:+.1f} [{told.low:+.1f}, {told.high:+.1f}]"


def main() -> None:
    """Search, confirm, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--path", required=True, help="a file of SQuAD")
    add("--model", help="folder of a Hugging Face model (default: the bundled one)")
    add("--dtype", default="float32", help="(default: %(default)s)")
    add("--device", default="auto", help="(default: %(default)s)")
    add("--slots", type=int, nargs="+", default=[32, 8, 4, 1], metavar="K")
    add("--settings", type=int, default=40, help="a temperature (default: %(default)s)")
    add("--first", type=int, default=400, help="pairs before those of the search (default 400)")
    add("--pairs", type=int, default=32, help="of the search (default: %(default)s)")
    add("--best", type=int, default=8, help="settings that are confirmed (default: %(default)s)")
    add("--confirm-first", type=int, default=1000, help="pairs before those (default 1,000)")
    add("--confirm", type=int, default=100, help="pairs (default: %(default)s)")
    add(
        "--also", nargs="+", default=[], metavar="SETTING",
        help="confirmed, too: what differs from the defaults, name=value with spaces between",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="of the settings (default: %(default)s)")
    add("--seconds", type=float, default=math.inf, help="begin no other K after so long")
    add("--out", type=Path, default=Path("runs/defaults-search.json"), help="(%(default)s)")
    parser.set_defaults(generator="nano")
    asked = parser.parse_args()
    model = generator(asked)
    source = dcm.find("dataset", "squad")(path=asked.path)

    def pairs(first: int, count: int) -> list[Example]:
        return list(islice(source, first, first + count))

    began, records = perf_counter(), {}
    for slots in asked.slots:
        if perf_counter() - began > asked.seconds:
            break
        start = perf_counter()
        own = [
            each
            for temperature in TEMPERATURES[slots]
            for each in drawn(slots, temperature, asked.settings, asked.seed)
        ]
        now = defaults(slots)
        searched = run(model, pairs(asked.first, asked.pairs), slots, [now, *own])
        best = sorted(searched[1:], key=lambda each: each.cost)[: asked.best]
        also = [attrs.evolve(now, **setting(each)) for each in asked.also]
        told = run(
            model, pairs(asked.confirm_first, asked.confirm), slots,
            [now, *also, *(each.setting for each in best)],
        )  # fmt: skip
        say(f"K = {slots}, {len(searched)} settings, {perf_counter() - start:.0f} s")
        for each in sorted(told, key=lambda each: each.cost):
            name = "defaults" if each is told[0] else ""
            share = sum(each.exact) / len(each.exact)
            say(
                f"{each.cost:8.1f} row-steps an exact pair, {share:6.1%} exact, median "
                f"{median(each.steps):5.1f}, defaults take {more(each, told[0])}  {name} "
                f"{each.setting}"
            )
        records[str(slots)] = {
            "search": [each.record() for each in searched],
            "confirmed": [each.record() for each in told],
        }
        write(asked.out, {"options": {k: str(v) for k, v in vars(asked).items()}, "K": records})


if __name__ == "__main__":
    main()
