"""Does knowing help: are pairs that the model answers by itself easier to make contents of?

    python experiments/known.py --data ../shared/data --model FOLDER
    python experiments/known.py --data ../shared/data --sources capitals --slots 2 --seeds 1

The model answers each question greedily in plain text after four others with their answers. A pair
is known where that is the answer or an alias of it (then the answer is that wording). Each known
pair is compared with

    unknown   a pair of the same source that it does not know, the nearest by the tokens and the
              surprisal of question and answer (each alone, not the answer after its question);
    shuffled  its question with the answer of another known pair of the source.

Compared are steps to certified contents (the budget for those that are not), the smallest K, and
nats stored a slot; means over `--seeds` starts, from noise. Transfer: of a content of the question
alone, how much less surprising its answer is than behind noise, against the same of another's.
"Easier", "no easier" and "open" are the protocol's: a difference of 10 % of the steps matters, of
means as in the protocol, and beside that as a ratio, the geometric mean over pairs, which a few
pairs that take long say less in.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs
import torch
from kit import (
    Deadline,
    Record,
    about,
    generator,
    nll,
    optimizer,
    options,
    say,
    solved,
    write,
)
from known_pairs import SOURCES, ask, balance, matched, shuffled

from dcm import Example, Generator, Modes, RowKey, find
from dcm.protocol.controls import MATTERS, easier
from dcm.protocol.statistics import paired_difference

GROUPS = ("known", "unknown", "shuffled")


def main(arguments: Sequence[str] | None = None) -> None:
    """Split, match, optimise, compare."""
    asked = parsed(arguments)
    deadline = Deadline(asked.seconds)
    model = generator(asked)
    groups: dict[str, dict[str, Example]] = {name: {} for name in GROUPS}
    of_source: dict[str, str] = {}
    record = about(asked, model, sources={}, runs=[], comparisons=[], transfer=[])
    for source in asked.sources:
        pairs = ask(model, source, SOURCES[source](asked.data, asked.candidates))
        matches = matched(pairs, asked.caliper)[: asked.pairs]
        mixed = shuffled(pairs, asked.seed)
        known = [pair.example for pair in pairs if pair.known]
        chosen = [one.example for one, _ in matches]
        # Those without a match are compared with shuffled ones all the same.
        chosen += [each for each in known if each not in chosen][: asked.pairs - len(chosen)]
        unknown = {one.example.id: other.example for one, other in matches}
        for each in chosen:
            key = f"{source} {each.id}"
            of_source[key] = source
            groups["known"][key] = each
            if each.id in unknown:
                groups["unknown"][key] = unknown[each.id]
            if each.id in mixed:
                groups["shuffled"][key] = mixed[each.id]
        record["sources"][source] = {
            "asked": len(pairs),
            "known": len(known),
            "matched": len(matches),
            "balance": balance(matches),
            "examples": [
                {"question": pair.example.question, "answer": pair.example.answer,
                 "said": pair.said, "known": pair.known} for pair in pairs[:20]
            ],
        }  # fmt: skip
        say(f"{source}: {len(known)} of {len(pairs)} known, {len(matches)} matched, "
            f"{deadline.spent:.0f} s")  # fmt: skip
    record["transfer"] = transfer(model, groups, of_source, asked, deadline)
    runs = optimised(model, groups, asked, deadline, record)
    compare(model, groups, of_source, runs, asked, record)
    record["seconds"] = deadline.spent
    write(asked.out, record)
    say(f"All figures are in {asked.out}")


def parsed(arguments: Sequence[str] | None) -> Namespace:
    """The options."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--sources", nargs="+", choices=SOURCES, default=list(SOURCES), help="default all")
    add("--candidates", type=int, default=600, metavar="N", help="asked of each; default 600")
    add("--pairs", type=int, default=100, metavar="N", help="known ones of each; default 100")
    add("--caliper", type=float, default=0.5, help="largest distance of a match; default 0.5")
    add("--slots", nargs="+", type=int, default=[1, 2, 4], metavar="K", help="default 1 2 4")
    add("--seeds", type=int, default=3, metavar="N", help="starts of a pair; default 3")
    add("--max-steps", type=int, default=300, metavar="N", help="of a start; default 300")
    add("--optimizer", default="adam text_scale=0", help='default "adam text_scale=0"')
    return parser.parse_args(arguments)


Runs = dict[tuple[str, int], dict[str, list[Record]]]
"""(group, K) -> pair -> what became of each start."""


def optimised(
    model: Generator,
    groups: dict[str, dict[str, Example]],
    asked: Namespace,
    deadline: Deadline,
    record: Record,
) -> Runs:
    """Every group in one queue, for each K and start."""
    runs: Runs = {}
    named = {
        f"{group}|{key}": attrs.evolve(example, id=f"{group}|{key}")
        for group, pairs in groups.items()
        for key, example in pairs.items()
    }
    # The largest K first: it is the cheapest.
    for seed in range(asked.seeds):
        for slots in sorted(asked.slots, reverse=True):
            if deadline.passed:
                return runs
            ended = {}
            for outcome in solved(
                model, named.values(), deadline, slots=slots, max_steps=asked.max_steps,
                optimizer=optimizer(asked.optimizer), seed=asked.seed + seed, lanes=asked.lanes,
            ):  # fmt: skip
                held = outcome.certified is True
                ended[outcome.example.id] = {
                    "certified": held,
                    "steps": outcome.steps if held else asked.max_steps,
                    "kept": sum(
                        loss * len(model.encode(getattr(outcome.example, mode)))
                        for mode, loss in outcome.losses.items()
                    ),
                }
            if len(ended) < len(named):  # cut off: those that ended are the easiest
                return runs
            for id, each in ended.items():
                group, _, key = id.partition("|")
                runs.setdefault((group, slots), {}).setdefault(key, []).append(each)
            for group in GROUPS:
                own = runs.get((group, slots), {})
                if own:
                    steps = fmean(one["steps"] for each in own.values() for one in each)
                    share = fmean(one["certified"] for each in own.values() for one in each)
                    say(f"K = {slots}, {seed + 1} starts, {group}: {steps:.1f} steps, "
                        f"{share:.0%} certified, {len(own)} pairs, "
                        f"{deadline.spent:.0f} s")  # fmt: skip
            record["runs"] = [
                {"group": group, "slots": k, "pairs": own} for (group, k), own in runs.items()
            ]
    return runs


def compare(
    model: Generator,
    groups: dict[str, dict[str, Example]],
    of_source: dict[str, str],
    runs: Runs,
    asked: Namespace,
    record: Record,
) -> None:
    """Differences, pair by pair, with a plain sentence each."""
    behind_noise = {
        group: dict(zip(pairs, noise_nats(model, list(pairs.values()), asked.seed), strict=True))
        for group, pairs in groups.items()
    }
    slots = sorted({k for _, k in runs})
    for other in ("unknown", "shuffled"):
        for source in ("all", *asked.sources):
            keys = [key for key in groups[other] if source in ("all", of_source[key]) and slots]
            for k in [*slots, *([None] if len(slots) > 1 else [])]:
                some = slots if k is None else [k]
                found = {
                    measure: paired_difference(
                        *[
                            [_value(runs, behind_noise, measure, group, key, some) for key in keys]
                            for group in ("known", other)
                        ]
                    )
                    for measure in ("steps", "log_steps", "nats_a_slot", "certified")
                }
                if k is None:
                    found["smallest_slots"] = paired_difference(
                        *[[_smallest(runs, group, key, slots) for key in keys]
                          for group in ("known", other)]
                    )  # fmt: skip
                taken = [_value(runs, behind_noise, "steps", "known", key, some) for key in keys]
                bound = MATTERS * fmean(taken) if taken else 0.0
                said = easier("known pairs", f"{other} ones", found["steps"], bound)
                by_ratio = easier(
                    "known pairs", f"{other} ones", found["log_steps"], math.log(1 + MATTERS)
                )
                record["comparisons"].append(
                    {"other": other, "source": source, "slots": k, "known_steps": bound / MATTERS,
                     "matters": bound, "said": said, "said_by_ratio": by_ratio,
                     **{measure: each.as_json() for measure, each in found.items()}}
                )  # fmt: skip
                if found["steps"].value is not None:
                    say(f"{source}, K = {k or 'all'}: {said} ({other} need "
                        f"{found['steps'].value:+.1f} steps, [{found['steps'].low:+.1f}, "
                        f"{found['steps'].high:+.1f}], n = {found['steps'].count}; "
                        f"{bound:.1f} would matter); by ratio {by_ratio} ("
                        f"{math.exp(found['log_steps'].value):.3f}, "
                        f"[{math.exp(found['log_steps'].low):.3f}, "
                        f"{math.exp(found['log_steps'].high):.3f}])")  # fmt: skip


def _value(
    runs: Runs,
    behind_noise: dict[str, dict[str, float]],
    measure: str,
    group: str,
    key: str,
    slots: Sequence[int],
) -> float:
    ended = [(k, each) for k in slots for each in runs[group, k][key]]
    if measure == "nats_a_slot":
        return fmean((behind_noise[group][key] - each["kept"]) / k for k, each in ended)
    if measure == "log_steps":
        return fmean(math.log(each["steps"]) for _, each in ended)
    return fmean(float(each[measure]) for _, each in ended)


def _smallest(runs: Runs, group: str, key: str, slots: Sequence[int]) -> float:
    """The smallest K at which most starts are certified; twice the largest where none is."""
    held = [k for k in slots if fmean(each["certified"] for each in runs[group, k][key]) > 0.5]
    return float(min(held, default=2 * max(slots)))


def noise(model: Generator, examples: Sequence[Example], slots: int, seed: int) -> torch.Tensor:
    """Contents [R, K, D] that nobody optimised."""
    shape = (slots, model.width)
    drawn = [torch.randn(shape, generator=RowKey(seed, e.id, 0).random("noise")) for e in examples]
    return torch.stack(drawn) * model.embedding_scale


def noise_nats(model: Generator, examples: Sequence[Example], seed: int) -> list[float]:
    """Nats of question and answer together behind a content of noise."""
    total = [0.0] * len(examples)
    for mode in ("question", "answer"):
        found = behind_contents(
            model, noise(model, examples, 4, seed) if examples else torch.zeros(0, 4, model.width),
            [getattr(each, mode) for each in examples], mode,
        )  # fmt: skip
        total = [a + b for a, b in zip(total, found, strict=True)]
    return total


def behind_contents(
    model: Generator, contents: torch.Tensor, texts: Sequence[str], mode: str
) -> list[float]:
    """Nats of each text, closing token included, under a mode behind its content."""
    found: list[float] = []
    for start in range(0, len(texts), 64):
        ids = [model.encode(text) for text in texts[start : start + 64]]
        lead = Modes(model).vectors([mode] * len(ids))
        means = nll(model, contents[start : start + 64], lead, ids)
        found += [mean * len(own) for mean, own in zip(means, ids, strict=True)]
    return found


def transfer(
    model: Generator,
    groups: dict[str, dict[str, Example]],
    of_source: dict[str, str],
    asked: Namespace,
    deadline: Deadline,
) -> list[Record]:
    """What a content of the question alone does for its answer, and for another's."""
    found = []
    for slots in asked.slots:
        named = {key: attrs.evolve(each, id=key) for key, each in groups["known"].items()}
        contents: dict[str, Any] = {}
        for outcome in solved(
            model, named.values(), deadline, objective=find("objective", "single")(mode="question"),
            optimizer=optimizer(asked.optimizer), slots=slots, max_steps=asked.max_steps,
            seed=asked.seed, lanes=asked.lanes,
        ):  # fmt: skip
            if outcome.certified:
                contents[outcome.example.id] = outcome.content
        keys = [key for key in contents if key in groups["shuffled"]]
        if deadline.passed or len(keys) < 2:
            break
        kept = torch.stack([contents[key] for key in keys])
        drawn = noise(model, [named[key] for key in keys], slots, asked.seed)
        gains = []
        for group in ("known", "shuffled"):
            texts = [groups[group][key].answer for key in keys]
            before = behind_contents(model, drawn, texts, "answer")
            after = behind_contents(model, kept, texts, "answer")
            gains.append([a - b for a, b in zip(before, after, strict=True)])
        for source in ("all", *asked.sources):
            places = [p for p, key in enumerate(keys) if source in ("all", of_source[key])]
            own, other = ([each[place] for place in places] for each in gains)
            more = paired_difference(other, own)
            if more.value is None:
                continue
            record = {"slots": slots, "source": source, "own_gain": fmean(own),
                      "other_gain": fmean(other), "own_minus_other": more.as_json()}  # fmt: skip
            found.append(record)
            say(f"transfer, {source}, K = {slots}: its own answer gains {fmean(own):+.2f} nats, "
                f"another's {fmean(other):+.2f}; {more.value:+.2f} "
                f"[{more.low:+.2f}, {more.high:+.2f}] more, n = {more.count}")  # fmt: skip
    return found


if __name__ == "__main__":
    main()
