"""Pairs that a model knows, and those that they are compared with: sources, asking, matching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import attrs
import torch
from kit import Record, plain_nats
from plain_text import accepted, behind, greedy, prompt

from dcm import Example, Generator, TaskDataset, find
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


def balance(matches: Sequence[tuple[Asked, Asked]]) -> Record:
    """Means of what pairs are matched by."""
    return {
        name: {
            group: fmean(pair[side].covariates[place] for pair in matches) if matches else None
            for side, group in enumerate(("known", "unknown"))
        }
        for place, name in enumerate(COVARIATES)
    }
