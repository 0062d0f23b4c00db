"""The pairs of `memory.py`, what they are asked with, and what else is stored."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

from text_baselines import half, misspelt, shuffled


def squad(path: Path, *, every: bool = False) -> list[tuple[str, str, str]]:
    """(question, answer, passage) of a file in SQuAD's layout.

    Args:
        every: questions without an answer too, with one that seems plausible.
    """
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    found = []
    for paragraph in (each for article in articles for each in article["paragraphs"]):
        for qa in paragraph["qas"]:
            answers = qa["answers"] or (every and qa.get("plausible_answers"))
            if answers:
                found.append((qa["question"], answers[0]["text"], paragraph["context"]))
    return found


def lines(path: Path) -> list[tuple[str, str]]:
    """(question, answer) of NQ-open's JSON lines, or of DPR's tab-separated lines."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if path.suffix == ".jsonl":
            record = json.loads(line)
            found.append((record["question"], record["answer"][0]))
        else:
            question, _, answers = line.partition("\t")
            # A list as Python prints it, if not always.
            first = re.search(r"['\"]+([^'\"]+)", answers)
            found.append((question, first[1] if first else ""))
    return [(question, answer) for question, answer in found if question.strip() and answer.strip()]


class Data:
    """The pairs, what they are asked with, and what else is stored."""

    def __init__(self, folder: Path, pairs: int) -> None:
        paraphrased = folder / "squad_paraphrased"
        stored = squad(paraphrased / "dev_orig.json")[:pairs]
        asked = squad(paraphrased / "dev_para.json")[:pairs]
        self.pairs = [(question, answer) for question, answer, _ in stored]
        chance = random.Random(0)
        paraphrases = [question for question, _, _ in asked]
        self.asked = {
            "the same question": [question for question, _ in self.pairs],
            "paraphrase": paraphrases,
            "half of its words": [half(each, chance) for each in paraphrases],
            "misspelt": [misspelt(each, chance) for each in paraphrases],
            "other word order": [shuffled(each, chance) for each in paraphrases],
        }
        nq = lines(folder / "natural_questions/nq_open/NQ-open.dev.jsonl")
        random.Random(1).shuffle(nq)
        self.unrelated, self.nq = [question for question, _ in nq[:pairs]], nq[pairs : pairs + 1000]
        taken = {question.lower().strip() for question in (*paraphrases, *self.asked["misspelt"])}
        taken |= {question.lower().strip() for question, _ in self.pairs}
        taken |= {question.lower().strip() for question in self.unrelated}
        # Versions of the data set differ in a passage's last words.
        passages = {passage.strip()[:80] for _, _, passage in stored}
        others = [
            each
            for name in ("dev-v2.0", "test-v2.0", "squad_v1.1_train.part", "train-v2.0.part")
            for each in squad(folder / f"squad_v2/{name}.json", every=True)
        ]
        near = [(q, a) for q, a, passage in others if passage.strip()[:80] in passages]
        far = [(q, a) for q, a, passage in others if passage.strip()[:80] not in passages]
        for name in (
            "natural_questions/dpr/topics.dpr.nq.dev",
            "triviaqa/dpr/topics.dpr.trivia.dev",
        ):
            far += lines(folder / f"{name}.txt")
        random.Random(2).shuffle(far)
        # In lower case, as the paraphrased questions are: capitals would tell them apart.
        self.near = _new(near, taken)
        self.distractors = self.near + _new(far, taken)
        # Where real questions end: the beginning of one and the end of another.
        real, chance = list(self.distractors), random.Random(3)
        while len(self.distractors) < 100_000:
            (one, answer), (other, _) = chance.sample(real, 2)
            a, b = one.split(), other.split()
            self.distractors.append((" ".join(a[: len(a) // 2] + b[len(b) // 2 :]), answer))
        self.passages = [passage.split() for _, _, passage in stored]


def _new(pairs: Iterable[tuple[str, str]], taken: set[str]) -> list[tuple[str, str]]:
    found = []
    for question, answer in pairs:
        plain = question.lower().strip()
        if plain not in taken:
            taken.add(plain)
            found.append((plain, answer))
    return found


def share(right: int, count: int) -> dict[str, float | int]:
    """A share with its 95 % interval (Wilson 1927)."""
    z, p = 1.96, right / count
    centre, spread = (
        p + z * z / (2 * count),
        z * (p * (1 - p) / count + z * z / (4 * count**2)) ** 0.5,
    )
    low, high = ((centre + sign * spread) / (1 + z * z / count) for sign in (-1, 1))
    return {"right": right, "of": count, "share": p, "low": max(0.0, low), "high": min(1.0, high)}
