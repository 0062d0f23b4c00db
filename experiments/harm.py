"""What does a content do to the rest of what the model can, and what does doing no harm cost?

    python experiments/harm.py --data ../shared/data --model FOLDER
    python experiments/harm.py --data ../shared/data --slots 4 --weights 0 1 --pairs 10

Contents of question-answer pairs are optimised, from noise. Then other text is read behind
[end-of-text] [c]: the change in mean next-token loss on passages of books, and in accuracy on
questions with four answers to choose from, its own and those of three other questions. Beside the
contents stand

    noise     normal noise of the embeddings' scale
    permuted  the content's own numbers in another order: as long, and without meaning
    text      question and answer of the pair as ordinary tokens

With a weight above 0 contents are optimised not to harm: the objective has as penalty how much
more surprising `--guards` short texts are behind the content than without it (never below zero),
and a row is done when it is exact and the penalty at most `--limit` nats. The passages that harm
is measured on are others.
"""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import attrs
import torch
from kit import (
    Deadline,
    Record,
    Token,
    about,
    books,
    generator,
    optimizer,
    options,
    say,
    solved,
    spread,
    write,
)
from torch import Tensor

from dcm import Example, Generator, Objective, RowKey, Strands, Target, find
from dcm.memory_limit import in_parts
from dcm.protocol.statistics import bootstrap

SETS = {
    "squad": "squad_v2/dev-v2.0.json",
    "triviaqa": "triviaqa/derived/unfiltered-web-dev.mosaic3000.derived.json",
}
ARMS = ("none", "content", "noise", "permuted", "text")
_CHOICES = 4
_PASSAGE_CHARACTERS = 1600


@attrs.frozen(eq=False)
class Harmless(Objective):
    """Another objective, with the harm to other texts as penalty.

    Attributes:
        inner: the other objective.
        model: what reads the texts.
        texts: their tokens.
        plain: mean nats of each without a content.
        weight: factor of the penalty in the loss; the criterion is told the product.
    """

    inner: Objective
    model: Generator
    texts: Sequence[Token]
    plain: Tensor
    weight: float

    def targets(self, example: Example) -> tuple[Target, ...]:
        return self.inner.targets(example)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return self.inner.loss(nll, strands)

    def penalty(self, content: Tensor) -> Tensor:
        rows, texts = len(content), len(self.texts)
        losses = read(self.model, content, [self.texts] * rows).view(rows, texts)
        return self.weight * (losses - self.plain).clamp(min=0).mean(1)


def read(model: Generator, content: Tensor, texts: Sequence[Sequence[Token]]) -> Tensor:
    """[J] mean nats of each row's texts behind [end-of-text] [c], their first token given."""
    device = model.device
    end = model.embed(torch.tensor([model.encode("a")[-1]], device=device))
    content = torch.cat([end.expand(len(content), 1, -1), content], 1)
    owners = [row for row, own in enumerate(texts) for _ in own]
    flat = [ids for own in texts for ids in own]
    strands = Strands(
        row=torch.tensor(owners, device=device),
        lead=model.embed(torch.tensor([ids[0] for ids in flat], device=device)),
        ids=[ids[1:] for ids in flat],
        weight=torch.ones(len(flat), device=device),
        rows=len(content),
        layout="suffix",
    )
    return model.score(content, strands).nll


@torch.no_grad()
def behind(
    model: Generator, prefixes: Sequence[Tensor], texts: Sequence[Sequence[Token]]
) -> list[list[float]]:
    """Mean nats of each text behind its row's prefix [K, D], whose K may differ."""
    by_length: dict[int, list[int]] = {}
    for place, prefix in enumerate(prefixes):
        by_length.setdefault(len(prefix), []).append(place)
    found: dict[int, list[float]] = {}

    def some(places: Sequence[int]) -> list[list[float]]:
        content = torch.stack([prefixes[place] for place in places]).to(model.device)
        own = [texts[place] for place in places]
        losses = iter(read(model, content, own).tolist())
        return [[next(losses) for _ in each] for each in own]

    for places in by_length.values():
        for start in range(0, len(places), 16):
            part = places[start : start + 16]
            found |= zip(part, in_parts(some, part), strict=True)
    return [found[place] for place in range(len(prefixes))]


@attrs.frozen
class Choice:
    """A question with answers to choose from: prompt, prompt with each answer, which is right."""

    prompt: Token
    full: tuple[Token, ...]
    right: int

    @property
    def texts(self) -> tuple[Token, ...]:
        """What is scored."""
        return (self.prompt, *self.full)

    def is_right(self, nats: Sequence[float]) -> bool:
        """Whether the right answer is the least surprising a token, of the means of `texts`."""
        before = nats[0] * (len(self.prompt) - 1)
        answers = [
            (mean * (len(ids) - 1) - before) / (len(ids) - len(self.prompt))
            for mean, ids in zip(nats[1:], self.full, strict=True)
        ]
        return min(range(len(answers)), key=answers.__getitem__) == self.right


def choices(model: Generator, examples: Sequence[Example], most: int, seed: int) -> list[Choice]:
    """The answers of the first examples among those of three others, behind a passage if any."""
    found = []
    for example in examples[:most]:
        chance = random.Random(f"{seed} {example.id}")
        others = [each.answer for each in examples if each.answer != example.answer]
        others = sorted(set(others) - {example.answer, *example.aliases})
        if example.context:
            others = [each for each in others if each not in example.context] or others
        answers = [example.answer, *chance.sample(others, _CHOICES - 1)]
        chance.shuffle(answers)
        passage = f"{example.context}\n\n" if example.context else ""
        prompt = model.encode(f"{passage}Question: {example.question}\nAnswer:")[:-1]
        full = tuple((*prompt, *model.encode(f" {answer}")[:-1]) for answer in answers)
        if max(map(len, full)) + 80 <= model.context_length:
            found.append(Choice(prompt, full, answers.index(example.answer)))
    return found


def prefixes(
    model: Generator, arm: str, pairs: Sequence[Example], contents: Sequence[Tensor], seed: int
) -> list[Tensor]:
    """What stands in front in an arm: a prefix [K, D] a pair."""
    width = model.width
    if arm == "none":
        return [torch.zeros(0, width) for _ in pairs]
    if arm == "content":
        return list(contents)
    if arm == "text":
        texts = [f"Question: {each.question}\nAnswer: {each.answer}\n\n" for each in pairs]
        ids = [torch.tensor(model.encode(text)[:-1]) for text in texts]
        return [model.embed(each.to(model.device)).cpu() for each in ids]
    drawn = [RowKey(seed, each.id, 0).random(arm) for each in pairs]
    if arm == "noise":
        return [
            torch.randn(content.shape, generator=key) * model.embedding_scale
            for content, key in zip(contents, drawn, strict=True)
        ]
    return [
        content.flatten()[torch.randperm(content.numel(), generator=key)].view_as(content)
        for content, key in zip(contents, drawn, strict=True)
    ]


def measured(
    model: Generator,
    pairs: Sequence[Example],
    contents: Sequence[Tensor],
    passages: Sequence[Token],
    questions: dict[str, list[Choice]],
    arms: Sequence[str],
    asked: Namespace,
) -> Record:
    """Loss on passages and accuracy on questions, in each arm; every pair reads its own share."""
    record: Record = {}
    plain: list[float] = []
    none_right: dict[str, list[float]] = {}
    for arm in ("none", *[each for each in arms if each != "none"]):
        front = prefixes(model, arm, pairs, contents, asked.seed)
        own = [shares(passages, place, asked.passages) for place in range(len(pairs))]
        losses = [fmean(each) for each in behind(model, front, own)]
        plain = plain or losses
        more = [loss - without for loss, without in zip(losses, plain, strict=True)]
        record[arm] = {"loss": fmean(losses), "more": bootstrap(more).as_json(), "accuracy": {}}
        for name, all_questions in questions.items():
            given = [shares(all_questions, place, asked.questions) for place in range(len(pairs))]
            texts = [[ids for each in some for ids in each.texts] for some in given]
            right = []
            for some, nats in zip(given, behind(model, front, texts), strict=True):
                step = _CHOICES + 1
                parts = [nats[start : start + step] for start in range(0, len(nats), step)]
                flags = [each.is_right(own) for each, own in zip(some, parts, strict=True)]
                right.append(fmean(flags))
            none_right.setdefault(name, right)
            change = [a - b for a, b in zip(right, none_right[name], strict=True)]
            record[arm]["accuracy"][name] = {
                "mean": bootstrap(right).as_json(),
                "change": bootstrap(change).as_json(),
            }
    return record


def shares(everything: Sequence, place: int, count: int) -> list:  # type: ignore[type-arg]
    """The share of one pair: `count` of them, the next pair goes on with the next."""
    return [everything[(place * count + k) % len(everything)] for k in range(count)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Optimise contents and see what they do."""
    asked = parsed(arguments)
    deadline = Deadline(asked.seconds)
    model = generator(asked)
    examples = {
        name: list(find("dataset", name)(path=str(asked.data / path), limit=600))
        for name, path in SETS.items()
    }
    chance = random.Random(asked.seed)
    sample = {name: chance.sample(each, min(300, len(each))) for name, each in examples.items()}
    pairs = sample[asked.set][: asked.pairs]
    # Questions are asked of others than the pairs.
    most = asked.pairs * asked.questions
    questions = {
        name: choices(model, sample[name][150:], most, asked.seed) for name in asked.question_sets
    }
    texts = books(asked.data, 200, _PASSAGE_CHARACTERS, asked.seed)
    ids = [model.encode(text)[:-1] for text in texts]
    passages = [each[: asked.passage_tokens] for each in ids[: 200 - asked.guards]]
    guards = [each[: asked.guard_tokens] for each in ids[200 - asked.guards :]]
    nothing = torch.zeros(1, 0, model.width, device=model.device)
    with torch.no_grad():
        plain = read(model, nothing, [guards])
    cells: list[Record] = []
    for slots in asked.slots:
        for weight in asked.weights:
            if deadline.passed:
                break
            found = cell(model, pairs, slots, weight, (guards, plain), asked, deadline)
            if found["ended"] < len(pairs):  # cut off: those that ended are the easiest
                say("The time is up")
                break
            contents = found.pop("contents")
            kept = [each for each in pairs if each.id in contents]
            if kept:
                # Only what changes with the weight is measured again.
                arms = ARMS if weight == asked.weights[0] else ("none", "content", "permuted")
                found["arms"] = measured(
                    model, kept, [contents[each.id] for each in kept], passages, questions, arms,
                    asked,
                )  # fmt: skip
            cells.append({"slots": slots, "weight": weight, **found})
            tell(cells[-1])
            write(asked.out, about(asked, model, cells=cells, seconds=deadline.spent))
    say(f"All figures are in {asked.out}")


def parsed(arguments: Sequence[str] | None) -> Namespace:
    """The options."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--set", choices=SETS, default="squad", help="of the pairs; default squad")
    add("--pairs", type=int, default=100, metavar="N", help="contents; default 100")
    add("--slots", nargs="+", type=int, default=[1, 4, 32], metavar="K", help="default 1 4 32")
    add("--weights", nargs="+", type=float, default=[0.0, 1.0], help="of the penalty; default 0 1")
    add("--limit", type=float, default=0.1, help="of the penalty, nats a token; default 0.1")
    add("--guards", type=int, default=8, metavar="N", help="texts of the penalty; default 8")
    add("--guard-tokens", type=int, default=32, metavar="T", help="of each; default 32")
    add("--passages", type=int, default=2, metavar="N", help="read behind a content; default 2")
    add("--passage-tokens", type=int, default=128, metavar="T", help="of each; default 128")
    add("--question-sets", nargs="+", choices=SETS, default=list(SETS), help="default both")
    add("--questions", type=int, default=3, metavar="N", help="of each set; default 3")
    add("--max-steps", type=int, default=500, metavar="N", help="of a content; default 500")
    add("--optimizer", default="adam text_scale=0", help='default "adam text_scale=0"')
    return parser.parse_args(arguments)


def cell(
    model: Generator,
    pairs: Sequence[Example],
    slots: int,
    weight: float,
    guard: tuple[Sequence[Token], Tensor],
    asked: Namespace,
    deadline: Deadline,
) -> Record:
    """Contents of all pairs with one K and one weight of the penalty."""
    began = deadline.spent
    objective, criterion = find("objective", "joint")(), find("criterion", "exact")()
    if weight:
        objective = Harmless(objective, model, *guard, weight)
        criterion &= find("criterion", "penalty-below")(limit=weight * asked.limit)
    contents, steps, certified, penalties = {}, [], 0, []
    for outcome in solved(
        model, pairs, deadline, objective=objective, criterion=criterion, slots=slots,
        optimizer=optimizer(asked.optimizer), max_steps=asked.max_steps, seed=asked.seed,
        lanes=asked.lanes,
    ):  # fmt: skip
        steps.append(outcome.row_steps)
        if outcome.penalty is not None:
            penalties.append(outcome.penalty / weight)
        if outcome.certified and outcome.content is not None:
            certified += 1
            contents[outcome.example.id] = outcome.content
    usual = model.embedding_scale * model.width**0.5
    norms = [float(each.norm(dim=1).mean()) / usual for each in contents.values()]
    return {
        "contents": contents,
        "ended": len(steps),
        "certified": certified,
        "harmless": sum(each <= asked.limit for each in penalties),
        "row_steps": spread([float(each) for each in steps]),
        "penalty": spread(penalties),
        "norm_a_slot": spread(norms),
        "solve_seconds": deadline.spent - began,
    }


def tell(cell: Record) -> None:
    """A cell in a few lines."""
    steps = cell["row_steps"].get("mean", 0)
    limit = f", {cell['harmless']} within the limit" if cell["weight"] else ""
    say(f"K = {cell['slots']}, weight {cell['weight']:g}: {cell['certified']} of {cell['ended']} "
        f"certified{limit}, {steps:.1f} row-steps a pair")  # fmt: skip
    for arm, found in cell.get("arms", {}).items():
        more = found["more"]
        accuracy = ", ".join(
            f"{name} {100 * each['mean']['value']:.1f} % ({100 * each['change']['value']:+.1f} "
            f"[{100 * each['change']['low']:+.1f}, {100 * each['change']['high']:+.1f}])"
            for name, each in found["accuracy"].items()
        )
        say(f"    {arm:9} {found['loss']:.3f} nats a token ({more['value']:+.3f} "
            f"[{more['low']:+.3f}, {more['high']:+.3f}]); right: {accuracy}")  # fmt: skip


if __name__ == "__main__":
    main()
