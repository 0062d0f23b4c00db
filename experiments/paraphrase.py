"""Does it help to optimise a content for other wordings of its question and answer too?

    python experiments/paraphrase.py --data ../shared/data
    python experiments/paraphrase.py --generator transformers --model FOLDER --out runs/para-135m
    python experiments/paraphrase.py --pairs 16 --slots 2 --arms joint real
    python experiments/paraphrase.py --cost

Pairs are questions of SQuAD with a paraphrase by hand each (Gan and Ng 2019), drawn by the seed 0.
Every arm runs on the same pairs with the same starts:

    joint      question and answer
    project    the same, with conflicting gradients projected (`project-conflicts`)
    real       the paraphrase by hand beside the question: it has been seen when it is asked
    templates  five wordings beside the question that are the question in a frame ("Tell me: ...");
               the paraphrase by hand is kept to ask with
    made       question and answer variants of --variants, a file of `dcm paraphrase`; likewise

A run that is there is not done again, one that was cut off goes on. `<out>/paraphrase.json` has
all figures, `<out>/paraphrase.md` the tables that are printed. --cost measures the time of a step
with five variants of each text instead.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import dcm
from dcm import Example, Experiment, Generator, Modes, Strands, TaskDataset, find
from dcm.memory_limit import in_parts
from dcm.protocol.statistics import bootstrap, paired_difference
from dcm.running.run_directory import EXPERIMENT, SUMMARY, RunDirectory
from dcm.solver import Stats, solve

ARMS = ("joint", "project", "real", "templates", "made")
FRAMES = (
    "tell me, {}",
    "i would like to know: {}",
    "here is a question. {}",
    "can you say {}",
    "question for you: {}",
)
MEASURES = {
    "certified": "share certified",
    "steps": "steps to exact, capped",
    "below_zero": "steps with a cosine below 0",
    "cosine": "mean cosine",
    "unseen": "loss of the paraphrase, nats",
    "found": "paraphrase finds its content",
    "answered": "paraphrase gets the answer",
}


def pairs(data: Path, count: int) -> TaskDataset:
    """SQuAD questions, each with its paraphrase by hand as its only variant."""
    folder = data / "squad_paraphrased"
    made: TaskDataset = find("dataset", "squad-paraphrased")(
        path=str(folder / "dev_orig.json"),
        paraphrases=str(folder / "dev_para.json"),
        seed=0,
        limit=count,
    )
    return made


def framed(dataset: TaskDataset, out: Path) -> TaskDataset:
    """The same pairs, their questions in frames as variants."""
    path = out / "templates.jsonl"
    if not path.exists():
        lines = [
            {
                "id": example.id,
                "question": example.question,
                "answer": example.answer,
                "question_variants": [frame.format(example.question) for frame in FRAMES],
                "answer_variants": [],
            }
            for example in dataset
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        path.write_text(text, encoding="utf-8")
    return paraphrased(dataset, path)


def paraphrased(dataset: TaskDataset, path: Path) -> TaskDataset:
    """The same pairs with the variants of a file."""
    made: TaskDataset = find("dataset", "paraphrased")(dataset=dataset, path=str(path))
    return made


def run(arm: str, slots: int, generator: Generator, asked: argparse.Namespace) -> Path:
    """Run one arm at one K, or what is left of it; its run directory."""
    folder: Path = asked.out / f"{arm}-k{slots}"
    if (folder / SUMMARY).exists():
        return folder
    dataset = pairs(asked.data, asked.pairs)
    if arm == "templates":
        dataset = framed(dataset, asked.out)
    elif arm == "made":
        dataset = paraphrased(dataset, asked.variants)
    objective: Any = {"joint": "joint", "project": "project-conflicts"}.get(arm, "paraphrase")
    fields = {"weight": asked.weight} if objective == "paraphrase" else {}
    experiment = Experiment(
        generator=generator,
        dataset=dataset,
        objective=find("objective", objective)(**fields),
        optimizer=find("optimizer", "restarts")(count=1),
        evaluators=(),
        slots=slots,
        max_steps=asked.max_steps,
        baseline_draws=0,
        interference=True,
    )
    experiment.run(folder, resume=(folder / EXPERIMENT).exists())
    return folder


def measure(
    folder: Path, generator: Generator, examples: Sequence[Example], asked: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """measure -> id -> number, of the pairs that have it."""
    run = RunDirectory.open(folder)
    results = {result["id"]: result for result in run.results()}
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for example in examples:
        result = results[example.id]
        steps = result["steps"] if result["exact"] else asked.max_steps
        found["certified"][example.id] = float(result["certified"] is True)
        found["steps"][example.id] = float(steps)
        for key, value in (result["interference"] or {}).items():
            found[key][example.id] = value
    known = [each for each in examples if results[each.id]["content"]]
    contents = run.load_contents([results[each.id]["content"] for each in known])
    unseen = [each.variants["question"][0] for each in known]
    losses = in_parts(
        lambda some: _losses(generator, some), list(zip(contents, unseen, strict=True))
    )
    found["unseen"] = {each.id: loss for each, loss in zip(known, losses, strict=True)}
    if asked.ask:
        # The contents alone, all of them, without the words of the stored questions.
        memory = dcm.open(folder, generator=generator)
        answers = memory.ask_all(unseen, shortlist=None, words=0.0)
        for example, answer in zip(known, answers, strict=True):
            right = (example.answer, *example.aliases)
            same = any(dcm.normalised_match(answer.text, each) for each in right)
            found["found"][example.id] = float(answer.id == example.id)
            found["answered"][example.id] = float(same)
    return found


def _losses(generator: Generator, texts: Sequence[tuple[Any, str]]) -> list[float]:
    """L(text | question mode, c) in nats, of contents [K, D] and texts."""
    modes, device = Modes(generator), generator.device
    strands = Strands(
        row=torch.arange(len(texts), device=device),
        lead=modes.vectors(["question"] * len(texts)),
        ids=[generator.encode(text) for _, text in texts],
        weight=torch.ones(len(texts), device=device),
        rows=len(texts),
    )
    with torch.no_grad():
        content = torch.stack([content for content, _ in texts]).to(device)
        losses: list[float] = generator.score(content, strands).nll.tolist()
    return losses


def summary(
    measured: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """arm -> measure -> the mean, and the paired difference to `joint`, with 95 % intervals."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    base = measured.get("joint", {})
    for arm, by_measure in measured.items():
        found[arm] = {}
        for name, values in by_measure.items():
            mean = bootstrap(list(values.values()))
            found[arm][name] = {"mean": mean.as_json()}
            both = [id for id in values if id in base.get(name, {})]
            if arm != "joint" and both:
                less = paired_difference([base[name][i] for i in both], [values[i] for i in both])
                found[arm][name]["minus_joint"] = less.as_json()
    return found


def tables(figures: Mapping[str, Any]) -> str:
    """All figures as Markdown: a table a measure, arms against K; differences in brackets."""
    lines: list[str] = []
    sizes = list(figures["by_slots"])
    for name, title in MEASURES.items():
        rows = [
            (arm, [_cell(figures["by_slots"][size][arm][name]) for size in sizes])
            for arm in ARMS
            if all(arm in figures["by_slots"][size] for size in sizes)
        ]
        if any(any(cells) for _, cells in rows):
            head = " | ".join(f"K = {size}" for size in sizes)
            lines += [f"{title}; minus joint [95 %]", "", f"| arm | {head} |"]
            lines.append(f"| {' | '.join(['---'] * (len(sizes) + 1))} |")
            lines += [f"| {arm} | {' | '.join(cells)} |" for arm, cells in rows]
            lines.append("")
    return "\n".join(lines)


def _cell(found: Mapping[str, Any]) -> str:
    value = found["mean"]["value"]
    if value is None:
        return ""
    cell = f"{value:.3g}"
    less = found.get("minus_joint")
    if less:
        cell += f"; {less['value']:+.2g} [{less['low']:+.2g}, {less['high']:+.2g}]"
    return cell


def cost(generator: Generator, asked: argparse.Namespace) -> dict[str, float]:
    """Seconds a row-step with K = 32: joint, and with five variants of each text beside.

    The variants are the texts of other pairs, which have the lengths that texts have.
    """
    examples = list(pairs(asked.data, asked.pairs))
    count = len(examples)

    def others(place: int, part: str) -> list[str]:
        return [str(getattr(examples[(place + step) % count], part)) for step in range(1, 6)]

    many = [
        Example(
            each.id,
            each.question,
            each.answer,
            variants={part: others(place, part) for part in ("question", "answer")},
        )
        for place, each in enumerate(examples)
    ]
    seconds: dict[str, list[float]] = {"joint": [], "paraphrase": []}
    for round in range(asked.rounds + 1):
        for name, times in seconds.items():
            stats, began = Stats(), time.perf_counter()
            objective = find("objective", name)()
            # Few steps, so that no row is done and all lanes stay full.
            for _ in solve(
                generator, many, objective=objective, optimizer=find("optimizer", "adam")(),
                slots=32, max_steps=4, lanes=asked.lanes, stats=stats,
            ):  # fmt: skip
                pass
            if generator.device.type == "cuda":
                torch.cuda.synchronize(generator.device)
            if round:  # the first warms up
                times.append((time.perf_counter() - began) / stats.row_steps)
    best = {name: min(times) for name, times in seconds.items()}
    return {**best, "ratio": best["paraphrase"] / best["joint"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder of the real data sets")
    add("--pairs", type=int, default=300, metavar="N", help="default 300")
    add("--slots", nargs="+", type=int, default=[1, 2, 4, 8], metavar="K", help="default 1 2 4 8")
    add("--arms", nargs="+", choices=ARMS, help="default all, `made` where there are --variants")
    add("--variants", type=Path, metavar="FILE", help="what `dcm paraphrase` made of these pairs")
    add("--weight", type=float, default=0.5, metavar="W", help="of the variants; default 0.5")
    add("--max-steps", type=int, default=500, metavar="N", help="of a pair; default 500")
    add("--generator", default="nano", metavar="NAME", help="default nano")
    add("--model", metavar="FOLDER", help="of the generator `transformers`")
    add("--no-ask", dest="ask", action="store_false", help="do not ask the memory")
    add("--cost", action="store_true", help="measure the time of a step, and nothing else")
    add("--lanes", type=int, metavar="N", help="of --cost; default as many as memory holds")
    add("--rounds", type=int, default=3, metavar="N", help="of --cost; the best counts; default 3")
    add("--out", type=Path, default=Path("runs/paraphrase"), metavar="DIR")
    asked = parser.parse_args(arguments)
    generator = find("generator", asked.generator)(
        **({"model": asked.model} if asked.model else {})
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.cost:
        found = cost(generator, asked)
        (asked.out / "cost.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(found, indent=2))
        return
    arms = asked.arms or [arm for arm in ARMS if arm != "made" or asked.variants]
    if "made" in arms and not asked.variants:
        parser.error("the arm `made` needs --variants FILE")
    examples = list(pairs(asked.data, asked.pairs))
    by_slots: dict[str, Any] = {}
    for slots in asked.slots:
        measured = {}
        for arm in arms:
            folder = run(arm, slots, generator, asked)
            measured[arm] = measure(folder, generator, examples, asked)
            print(f"K = {slots}, {arm} done", flush=True)
        by_slots[str(slots)] = summary(measured)
    figures = {
        "pairs": len(examples),
        "generator": asked.generator,
        "model": asked.model,
        "device": str(generator.device),
        "max_steps": asked.max_steps,
        "weight": asked.weight,
        "by_slots": by_slots,
    }
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False)
    (asked.out / "paraphrase.json").write_text(text + "\n", encoding="utf-8")
    (asked.out / "paraphrase.md").write_text(tables(figures), encoding="utf-8")
    print(tables(figures))


if __name__ == "__main__":
    main()
