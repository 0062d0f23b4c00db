"""What is a memory of contents worth beside text retrieval? Tables and one JSON file a model.

Pairs of questions and answers become contents. They are asked with the questions' paraphrases,
with questions cut to half their words, misspelt and in another word order, among near neighbours
and thousands of others, and with questions that no item answers. The same is asked of plain text
retrieval over the stored questions. `docs/results/memory.md` tells what came out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memory_data import Data, share
from memory_scale import scale
from text_baselines import METHODS, half, misspelt

import dcm
from dcm.memory.answer import Candidate
from dcm.memory.asking import candidates, margin
from dcm.memory.memory import WORDS
from dcm.modes import mode_words
from dcm.running.provenance import device_name
from dcm.running.run_directory import RunDirectory

SHORTLIST = 64


class Model:
    """One model's part of the experiment."""

    def __init__(self, generator: dcm.Generator, data: Data, asked: argparse.Namespace) -> None:
        self.generator, self.data, self.asked = generator, data, asked
        self.out: Path = asked.out
        self.found: dict[str, Any] = {"tables": {}}

    def memory(self, name: str, slots: int) -> dcm.Memory:
        """The memory of a folder; an empty run where there is none."""
        path = self.out / name
        if not (path / "experiment.json").exists():
            experiment = dcm.Experiment(
                generator=self.generator, slots=slots, max_steps=self.asked.max_steps
            )
            with RunDirectory.create(path, experiment.describe()):
                pass  # an empty run
        return dcm.open(path, generator=self.generator)

    def kept(self, name: str, pairs: Sequence[tuple[str, str]], slots: int | Sequence[int]) -> Any:
        """A memory of pairs, with what it took to make."""
        began = time.perf_counter()
        first = slots if isinstance(slots, int) else slots[-1]
        examples = [dcm.Example(f"{n:06d}", q, a) for n, (q, a) in enumerate(pairs)]
        added = self.memory(name, first).add(examples, slots=slots)
        memory = added.memory
        certified = sum(item.certified for item in memory.values())
        return memory, {
            "items": len(memory),
            "certified": share(certified, len(memory)),
            "seconds": time.perf_counter() - began,
            "bytes_per_item": sum(item.bytes for item in memory.values()) / len(memory),
        }

    def ask(
        self, memory: dcm.Memory, texts: Sequence[str], words: float, shortlist: int | None
    ) -> list[list[Candidate]]:
        return candidates(memory, texts, shortlist, words)

    def answers(self, memory: dcm.Memory, found: Sequence[Sequence[Candidate]]) -> list[str]:
        return memory.generate_from([memory[each[0].id] for each in found], "answer", 64)

    def judge(
        self, memory: dcm.Memory, found: Sequence[Sequence[Candidate]], expected: Sequence[str]
    ) -> dict[str, Any]:
        """Recall and verbatim answers; `expected` are ids."""
        texts = self.answers(memory, found)
        right = sum(each[0].id == wanted for each, wanted in zip(found, expected, strict=True))
        verbatim = sum(
            text == memory[wanted].texts["answer"]
            for text, wanted in zip(texts, expected, strict=True)
        )
        return {"recall@1": share(right, len(found)), "verbatim": share(verbatim, len(found))}

    def pairs(self) -> None:
        """Reliability, generality and locality, at every K."""
        data, table = self.data, self.found["tables"].setdefault("pairs", {})
        for slots in self.asked.slots:
            memory, row = self.kept(f"k{slots}", data.pairs, slots)
            ids = [f"{n:06d}" for n in range(len(data.pairs))]
            paraphrases = data.asked["paraphrase"]
            alone = self.ask(memory, paraphrases, 0.0, None)
            row["paraphrase, contents alone, all measured"] = self.judge(memory, alone, ids)
            both = self.ask(memory, paraphrases, WORDS, SHORTLIST)
            row["paraphrase, with words"] = self.judge(memory, both, ids)
            same = self.ask(memory, data.asked["the same question"], WORDS, SHORTLIST)
            row["the same question, with words"] = self.judge(memory, same, ids)
            row["abstention"] = self.abstention(memory, both, alone, ids)
            table[f"K = {slots}"] = row
            self.tell(f"K = {slots}", row)

    def abstention(
        self,
        memory: dcm.Memory,
        both: Sequence[Sequence[Candidate]],
        alone: Sequence[Sequence[Candidate]],
        ids: Sequence[str],
    ) -> dict[str, Any]:
        """How many are answered, and rightly, by how many unrelated ones are answered."""
        unrelated = self.data.unrelated
        row: dict[str, Any] = {}
        threshold = memory.calibrate()
        for name, asked, words, shortlist in (
            ("with words", both, WORDS, SHORTLIST),
            ("contents alone", alone, 0.0, None),
        ):
            strange = np.array([margin(e) for e in self.ask(memory, unrelated, words, shortlist)])
            own = np.array([margin(each) for each in asked])
            right = np.array(
                [each[0].id == wanted for each, wanted in zip(asked, ids, strict=True)]
            )
            losses = np.array([each[0].loss for each in asked])
            curve = []
            for allowed in (0.0, 0.01, 0.02, 0.05, 0.1):
                level = np.sort(strange)[::-1][int(allowed * len(strange))]
                curve.append(
                    {"false": allowed, "answered rightly": float(((own > level) & right).mean())}
                )
            row[name] = {"curve": curve, "median loss": float(np.median(losses))}
            if name == "with words":
                reached = int((strange >= threshold.margin).sum())
                row["calibrated on its own questions"] = {
                    "margin": threshold.margin,
                    "false answers": share(reached, len(strange)),
                    "answered rightly": share(
                        int(((own >= threshold.margin) & right).sum()), len(own)
                    ),
                }
        return row

    def hard(self) -> None:
        """Half words, typos, another order; near neighbours and 10^2 to 10^5 others."""
        data, table = self.data, self.found["tables"].setdefault("hard", {})
        ids = [f"{n:06d}" for n in range(len(data.pairs))]
        for count in self.asked.distractors:
            stored = data.pairs + data.distractors[:count]
            questions = [question for question, _ in stored]
            row: dict[str, Any] = {"near neighbours": min(count, len(data.near))}
            for name, method in METHODS.items():
                try:
                    score = method(questions)
                except ImportError:
                    continue
                row[name] = {kind: _text_row(score, each) for kind, each in data.asked.items()}
            if count <= self.asked.optimised:
                memory, made = self.kept("hard", stored, self.asked.slots[0])
                row["made"] = made
                for name, words in (("contents alone", 0.0), ("contents and words", WORDS)):
                    began = time.perf_counter()
                    row[name] = {
                        kind: self.judge(memory, self.ask(memory, each, words, SHORTLIST), ids)
                        for kind, each in data.asked.items()
                    }
                    row[name]["seconds a question"] = (time.perf_counter() - began) / (
                        len(ids) * len(data.asked)
                    )
            table[str(count)] = row
            self.tell(f"{count} others", row)

    def context(self) -> None:
        """The model alone, with the pair that text retrieval finds in front of the question."""
        data = self.data
        score = METHODS["BM25, trigrams"]([question for question, _ in data.pairs])
        prompts, wanted = [], []
        for place, asked in enumerate(data.asked["paraphrase"]):
            question, answer = data.pairs[int(score(asked).argmax())]
            told = f"{mode_words('question')} {question}\n{mode_words('answer')} {answer}\n\n"
            prompts.append(f"{told}{mode_words('question')} {asked}\n{mode_words('answer')}")
            wanted.append(data.pairs[place][1])
        texts = [self._continued(prompt) for prompt in prompts]
        first = [text.strip().partition("\n")[0].strip() for text in texts]
        both = list(zip(first, wanted, strict=True))
        row = {
            "verbatim": share(sum(text == answer for text, answer in both), len(both)),
            "contained": share(sum(answer in text for text, answer in both), len(both)),
        }
        self.found["tables"]["context"] = row
        self.tell("the retrieved pair as context", row)

    def _continued(self, prompt: str) -> str:
        generator = self.generator
        ids = torch.tensor([*generator.opening, *generator.encode(prompt)[:-1]])
        vectors = generator.embed(ids.to(generator.device))
        return generator.decode(vectors[None, 1:], vectors[:1], 48)[0]

    def conversions(self) -> None:
        """Contents in fewer bits, certified again."""
        data, table = self.data, self.found["tables"].setdefault("kept", {})
        memory, _ = self.kept(f"k{self.asked.slots[0]}", data.pairs, self.asked.slots[0])
        ids = [f"{n:06d}" for n in range(len(data.pairs))]
        for kept in ("bfloat16", "float16", "int8"):
            added = memory.convert(self.out / f"{kept}-{time.time_ns()}", kept)
            found = self.ask(added.memory, data.asked["paraphrase"], 0.0, None)
            row = {
                "certified": share(added.certified, added.items),
                "optimised again": added.optimised,
                "bytes per item": added.bytes / added.items,
                "paraphrase, contents alone": self.judge(added.memory, found, ids),
            }
            table[kept] = row
            self.tell(kept, row)

    def fewest(self) -> None:
        """The fewest slots that certify beside one K for all, with texts of many lengths."""
        lengths = (4, 10, 25, 50, 80)
        pairs = [
            (question, " ".join(passage[: lengths[n % len(lengths)]]))
            for n, ((question, _), passage) in enumerate(
                zip(self.data.pairs, self.data.passages, strict=True)
            )
        ][: self.asked.long]
        table = self.found["tables"].setdefault("slots", {})
        asked = self.data.asked["paraphrase"][: len(pairs)]
        ids = [f"{n:06d}" for n in range(len(pairs))]
        for name, slots in [
            ("fewest", self.asked.ladder),
            *((f"K = {k}", k) for k in self.asked.ladder),
        ]:
            path = self.out / f"long-{name.replace(' ', '')}"
            if path.exists():
                continue
            examples = [dcm.Example(i, q, a) for i, (q, a) in zip(ids, pairs, strict=True)]
            first = slots if isinstance(slots, int) else slots[-1]
            added = self.memory(path.name, first).add(examples, slots=slots)
            row = {
                "certified": share(added.certified, added.items),
                "bytes per token": added.bytes / added.tokens,
                "slots": dict(added.slots),
                "recall, contents alone": share(
                    sum(
                        found[0].id == wanted
                        for found, wanted in zip(
                            self.ask(added.memory, asked, 0.0, None), ids, strict=True
                        )
                    ),
                    len(ids),
                ),
            }
            table[name] = row
            self.tell(f"long texts, {name}", row)

    def open_questions(self) -> None:
        """1,000 NQ-open pairs, asked as they are, cut and misspelt; strangers are SQuAD's."""
        pairs = self.data.nq[: self.asked.nq]
        if not pairs:
            return
        memory, row = self.kept("nq", pairs, self.asked.slots[0])
        ids, chance = [f"{n:06d}" for n in range(len(pairs))], random.Random(4)
        asked = {
            "the same question": [question for question, _ in pairs],
            "half of its words": [half(question, chance) for question, _ in pairs],
            "misspelt": [misspelt(question, chance) for question, _ in pairs],
        }
        threshold = memory.calibrate()
        score = METHODS["BM25, trigrams"]([question for question, _ in pairs])
        for kind, texts in asked.items():
            both = self.ask(memory, texts, WORDS, SHORTLIST)
            row[f"{kind}, with words"] = self.judge(memory, both, ids)
            row[f"{kind}, text"] = _text_row(score, texts)
        strange = self.ask(memory, self.data.asked["paraphrase"], WORDS, SHORTLIST)
        reached = sum(margin(each) >= threshold.margin for each in strange)
        row["false answers"] = share(reached, len(strange))
        self.found["tables"]["nq"] = row
        self.tell("NQ-open", row)

    def tell(self, name: str, row: dict[str, Any]) -> None:
        """Print a row and keep all that there is."""
        print(f"{name}: {_short(row)}", flush=True)
        (self.out / "figures.json").write_text(json.dumps(self.found, indent=1) + "\n")


def _text_row(score: Callable[[str], np.ndarray], asked: Sequence[str]) -> dict[str, Any]:
    """Recall of a text method: the right one is better than all others."""
    first = near = 0
    for place, text in enumerate(asked):
        scores = score(text)
        better = int((scores > scores[place]).sum())
        ties = int((scores == scores[place]).sum()) - 1
        first += better + ties == 0
        near += better + ties < SHORTLIST
    return {"recall@1": share(first, len(asked)), "recall@64": share(near, len(asked))}


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"right", "of", "share", "low", "high"}:
        return f"{value['share']:.1%} [{value['low']:.1%}, {value['high']:.1%}]"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_short(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(_short(each) for each in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder of the real data sets")
    add("--out", type=Path, default=Path("runs/memory"), help="a folder a model; figures.json")
    add("--generator", default="nano", help="name of a generator")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a field of it")
    add("--pairs", type=int, default=300)
    add("--slots", type=int, nargs="+", default=[8, 2, 1], help="the first is used for the rest")
    add("--ladder", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    add("--long", type=int, default=100, help="pairs with answers of 4 to 80 words")
    add("--distractors", type=int, nargs="+", default=[0, 100, 1000, 10_000, 100_000])
    add("--optimised", type=int, default=1000, help="most distractors that become contents")
    add("--nq", type=int, default=1000)
    add("--max-steps", type=int, default=500)
    add("--scale", type=int, default=0, help="items of a synthetic memory; 0 makes none")
    add("--parts", nargs="+", default=["pairs", "hard", "context", "kept", "slots", "nq"])
    asked = parser.parse_args(arguments)
    fields = dict(each.split("=", 1) for each in asked.set)
    generator = dcm.find("generator", asked.generator)(**fields)
    asked.out.mkdir(parents=True, exist_ok=True)
    data = Data(asked.data, asked.pairs)
    model, began = Model(generator, data, asked), time.perf_counter()
    model.found |= {
        "command": " ".join(["python", "experiments/memory.py", *(arguments or sys.argv[1:])]),
        "device": device_name(str(generator.device)),
        "dtype": str(generator.dtype),
        "torch": torch.__version__,
    }
    steps = {
        "pairs": model.pairs,
        "hard": model.hard,
        "context": model.context,
        "kept": model.conversions,
        "slots": model.fewest,
        "nq": model.open_questions,
    }
    for part in asked.parts:
        steps[part]()
        print(f"# {part} done after {time.perf_counter() - began:.0f} s", flush=True)
    if asked.scale:
        memory, _ = model.kept(f"k{asked.slots[0]}", data.pairs, asked.slots[0])
        row = scale(memory, asked.out, asked.scale, data)
        model.found["tables"]["scale"] = row
        model.tell(f"{asked.scale} items", row)


if __name__ == "__main__":
    main()
