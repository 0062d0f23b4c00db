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
"Easier", "no easier" and "open" are the protocol's: a difference of 10 % of the steps matters.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
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
    plain_nats,
    say,
    solved,
    write,
)
from plain_text import accepted, behind, greedy, prompt

from dcm import Example, Generator, Modes, RowKey, TaskDataset, find
from dcm.protocol.controls import MATTERS, easier
from dcm.protocol.statistics import paired_difference
from dcm_wrappers.shuffled import Shuffled

CAPITALS = """
France Paris, Italy Rome, Spain Madrid, Germany Berlin, Japan Tokyo, China Beijing, Russia Moscow,
Egypt Cairo, Greece Athens, Portugal Lisbon, Austria Vienna, Poland Warsaw, Sweden Stockholm,
Norway Oslo, Denmark Copenhagen, Finland Helsinki, Ireland Dublin, Hungary Budapest, Cuba Havana,
Belgium Brussels, Canada Ottawa, Australia Canberra, India New_Delhi, Thailand Bangkok, Iran Tehran,
Iraq Baghdad, Turkey Ankara, Kenya Nairobi, Ethiopia Addis_Ababa, Ghana Accra, Nigeria Abuja,
Peru Lima, Chile Santiago, Argentina Buenos_Aires, Brazil Brasilia, Colombia Bogota, Mexico
Mexico_City, Venezuela Caracas, Ecuador Quito, Bolivia La_Paz, Uruguay Montevideo, Paraguay
Asuncion, Indonesia Jakarta, Malaysia Kuala_Lumpur, Vietnam Hanoi, Philippines Manila, South_Korea
Seoul, North_Korea Pyongyang, Mongolia Ulaanbaatar, Nepal Kathmandu, Pakistan Islamabad,
Afghanistan Kabul, Bangladesh Dhaka, Sri_Lanka Colombo, Cambodia Phnom_Penh, Laos Vientiane,
Saudi_Arabia Riyadh, Syria Damascus, Lebanon Beirut, Jordan Amman, Qatar Doha, Yemen Sanaa,
Ukraine Kyiv, Belarus Minsk, Romania Bucharest, Bulgaria Sofia, Serbia Belgrade, Croatia Zagreb,
Slovakia Bratislava, Slovenia Ljubljana, Albania Tirana, Estonia Tallinn, Latvia Riga, Lithuania
Vilnius, Iceland Reykjavik, Switzerland Bern, Czech_Republic Prague, Netherlands Amsterdam,
Morocco Rabat, Algeria Algiers, Tunisia Tunis, Libya Tripoli, Sudan Khartoum, Uganda Kampala,
Tanzania Dodoma, Zambia Lusaka, Zimbabwe Harare, Mozambique Maputo, Angola Luanda, Senegal Dakar,
Mali Bamako, Niger Niamey, Chad N'Djamena, Cameroon Yaounde, Gabon Libreville, Madagascar
Antananarivo, Somalia Mogadishu, Rwanda Kigali, Botswana Gaborone, Namibia Windhoek, New_Zealand
Wellington, Fiji Suva, Jamaica Kingston, Haiti Port-au-Prince, Panama Panama_City, Costa_Rica
San_Jose, Guatemala Guatemala_City, Honduras Tegucigalpa, Nicaragua Managua, Georgia Tbilisi,
Armenia Yerevan, Azerbaijan Baku, Kazakhstan Astana, Uzbekistan Tashkent
"""
COVARIATES = ("question_tokens", "answer_tokens", "question_nats", "answer_nats")
GROUPS = ("known", "unknown", "shuffled")


def capitals(data: Path, count: int) -> list[Example]:
    """Capitals of countries, written above."""
    pairs = [each.split() for each in CAPITALS.split(",")]
    return [
        Example(country, f"What is the capital of {country.replace('_', ' ')}?",
                city.replace("_", " "))
        for country, city in pairs[:count]
    ]  # fmt: skip


def sums(data: Path, count: int) -> list[Example]:
    """Sums of two numbers below 20, which small models may know."""
    both = [(a, b) for a in range(1, 20) for b in range(a, 20)]
    return [
        Example(f"{a}+{b}", f"What is {a} + {b}?", f"{a + b}")
        for a, b in both[:: max(1, len(both) // count)][:count]
    ]


def stored(name: str, path: str) -> Callable[[Path, int], list[Example]]:
    """The first examples of a file."""
    return lambda data, count: list(find("dataset", name)(path=str(data / path), limit=count))


SOURCES: dict[str, Callable[[Path, int], list[Example]]] = {
    "triviaqa": stored("triviaqa", "triviaqa/derived/unfiltered-web-dev.mosaic3000.derived.json"),
    "natural-questions": stored("natural-questions", "natural_questions/nq_open/NQ-open.dev.jsonl"),
    "capitals": capitals,
    "sums": sums,
}


@attrs.frozen(eq=False)
class Asked:
    """A pair, what the model said, and what it is matched by."""

    source: str
    example: Example
    said: str
    known: bool
    covariates: tuple[float, ...]


def ask(model: Generator, source: str, examples: Sequence[Example]) -> list[Asked]:
    """Every pair of a source, asked in plain text."""
    said = greedy(model, [prompt(each.question) for each in examples])
    wordings = [accepted(each, text) for each, text in zip(examples, said, strict=True)]
    pairs = [
        attrs.evolve(each, answer=wording or each.answer, aliases=())
        for each, wording in zip(examples, wordings, strict=True)
    ]
    columns = []
    for mode in ("question", "answer"):
        ids = [model.encode(getattr(each, mode))[:-1] for each in pairs]
        words = behind(model, f"{mode.capitalize()}:\n")
        columns += [[float(len(own)) for own in ids], plain_nats(model, ids, [words] * len(ids))]
    tokens, nats, answer_tokens, answer_nats = columns
    rows = zip(tokens, answer_tokens, nats, answer_nats, strict=True)
    return [
        Asked(source, pair, text, wording is not None, row)
        for pair, text, wording, row in zip(pairs, said, wordings, rows, strict=True)
    ]


def matched(pairs: Sequence[Asked], caliper: float) -> list[tuple[Asked, Asked]]:
    """Each known pair with the nearest unknown one, each of them used once.

    The distance is the root of the mean squared difference of the logarithms of the covariates,
    in their standard deviations; pairs that are further apart than the caliper are left out.
    """
    places = torch.tensor([pair.covariates for pair in pairs], dtype=torch.float64).log1p()
    spread = places.std(0).clamp(min=1e-9)
    known = [place for place, pair in enumerate(pairs) if pair.known]
    free = [place for place, pair in enumerate(pairs) if not pair.known]
    if not known or not free:
        return []
    far = ((places[known][:, None] - places[free][None]) / spread).square().mean(-1).sqrt()
    found = []
    order = far.flatten().argsort().tolist()
    used: tuple[set[int], set[int]] = (set(), set())
    for cell in order:
        one, other = divmod(cell, len(free))
        if far[one, other] > caliper:
            break
        if one not in used[0] and other not in used[1]:
            used[0].add(one)
            used[1].add(other)
            found.append((pairs[known[one]], pairs[free[other]]))
    return found


def shuffled(pairs: Sequence[Asked], seed: int) -> dict[str, Example]:
    """id of a known pair -> its question with the answer of another of the source."""
    known = [pair.example for pair in pairs if pair.known]
    if len(known) < 2:
        return {}
    return {
        each.id: mixed
        for each, mixed in zip(known, Shuffled(_Listed(tuple(known)), seed=seed), strict=True)
        if mixed.answer != each.answer
    }


class _Listed(TaskDataset):
    """Examples as a data set."""

    def __init__(self, examples: tuple[Example, ...]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]

    def grade(self, example: Example, text: str) -> dict[str, float]:
        return {}


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
        say(f"{source}: {len(known)} of {len(pairs)} known, {len(matches)} matched")
    runs = optimised(model, groups, asked, deadline, record)
    compare(model, groups, of_source, runs, asked, record)
    record["transfer"] = transfer(model, groups, of_source, asked, deadline)
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


def balance(matches: Sequence[tuple[Asked, Asked]]) -> Record:
    """Means of what pairs are matched by."""
    return {
        name: {
            group: fmean(pair[side].covariates[place] for pair in matches) if matches else None
            for side, group in enumerate(("known", "unknown"))
        }
        for place, name in enumerate(COVARIATES)
    }


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
                        f"{share:.0%} certified, {len(own)} pairs")  # fmt: skip
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
            keys = [
                key
                for key in groups[other]
                if source in ("all", of_source[key]) and slots
            ]
            for k in [*slots, *([None] if len(slots) > 1 else [])]:
                some = slots if k is None else [k]
                found = {
                    measure: paired_difference(
                        *[
                            [_value(runs, behind_noise, measure, group, key, some) for key in keys]
                            for group in ("known", other)
                        ]
                    )
                    for measure in ("steps", "nats_a_slot", "certified")
                }
                if k is None:
                    found["smallest_slots"] = paired_difference(
                        *[[_smallest(runs, group, key, slots) for key in keys]
                          for group in ("known", other)]
                    )  # fmt: skip
                taken = [_value(runs, behind_noise, "steps", "known", key, some) for key in keys]
                bound = MATTERS * fmean(taken) if taken else 0.0
                said = easier("known pairs", f"{other} ones", found["steps"], bound)
                record["comparisons"].append(
                    {"other": other, "source": source, "slots": k, "known_steps": bound / MATTERS,
                     "matters": bound, "said": said,
                     **{measure: each.as_json() for measure, each in found.items()}}
                )  # fmt: skip
                if found["steps"].value is not None:
                    say(f"{source}, K = {k or 'all'}: {said} ({other} need "
                        f"{found['steps'].value:+.1f} steps, [{found['steps'].low:+.1f}, "
                        f"{found['steps'].high:+.1f}], n = {found['steps'].count}; "
                        f"{bound:.1f} would matter)")  # fmt: skip


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
