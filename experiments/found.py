"""Contents that were found, in several attempts at pairs of several sets, and their losses."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import attrs
import torch
from kit import Deadline, optimizer, say, solved
from torch import Tensor

from dcm import Example, Generator, Modes, RowKey, Strands, find
from dcm.memory_limit import in_parts
from dcm.optimizer import Space

SETS = {
    "squad": "squad_v2/dev-v2.0.json",
    "triviaqa": "triviaqa/derived/unfiltered-web-dev.mosaic3000.derived.json",
    "arithmetic": None,
}
_BOTH = ("question", "answer")
_PART = 64


@attrs.frozen(eq=False)
class Found:
    """A certified content.

    Attributes:
        example: what it generates.
        set: name of the set.
        attempt: which start, from 0 on.
        content: [K, D] float32 on the CPU.
        start: [K, D], where it began.
        margin: in logits.
        steps: until it was found.
    """

    example: Example
    set: str
    attempt: int
    content: Tensor
    start: Tensor
    margin: float
    steps: int


class Losses(NamedTuple):
    """Of R contents: question's and answer's mean nats added, all tokens the argmax, the margin."""

    loss: Tensor
    exact: Tensor
    margin: Tensor


def examples_of(name: str, data: Path, count: int, seed: int) -> list[Example]:
    """Examples of a set, drawn by the seed."""
    path = SETS[name]
    if path is None:
        return list(find("dataset", "arithmetic")(count=count, seed=seed))
    return list(find("dataset", name)(path=str(data / path), seed=seed, limit=count))


def contents(model: Generator, asked: Namespace, deadline: Deadline) -> list[Found]:
    """`--attempts` contents of each of `--pairs` pairs a set, those that were certified in time."""
    found = []
    chosen = optimizer(asked.optimizer)
    space = Space(asked.slots, model.width, model.embedding_scale, torch.device("cpu"))
    for attempt in range(asked.attempts):
        for name in asked.sets:
            pairs = examples_of(name, asked.data, asked.pairs, asked.seed)
            seed = asked.seed + attempt
            for outcome in solved(
                model, pairs, deadline, slots=asked.slots, optimizer=chosen, seed=seed,
                max_steps=asked.max_steps, lanes=asked.lanes,
            ):  # fmt: skip
                if not outcome.certified or outcome.content is None:
                    continue
                key = RowKey(seed, outcome.example.id, 0)
                # A start from noise alone, else the part of it that is noise.
                nothing = torch.zeros(1, model.width)
                start = chosen.start([key], space, [nothing])[0]
                found.append(
                    Found(outcome.example, name, attempt, outcome.content, start, outcome.margin,
                          outcome.steps)
                )  # fmt: skip
    say(f"{len(found)} contents of {asked.slots} slots, certified")
    return found


def _strands(model: Generator, examples: Sequence[Example]) -> Strands:
    device = model.device
    texts = [(row, mode) for row in range(len(examples)) for mode in _BOTH]
    return Strands(
        row=torch.tensor([row for row, _ in texts], device=device),
        lead=Modes(model).vectors([mode for _, mode in texts]),
        ids=[model.encode(getattr(examples[row], mode)) for row, mode in texts],
        weight=torch.ones(len(texts), device=device),
        rows=len(examples),
    )


@torch.no_grad()
def losses(model: Generator, points: Tensor, examples: Sequence[Example]) -> Losses:
    """What R contents [R, K, D] are worth to their examples; on the CPU."""

    def some(rows: Sequence[int]) -> list[tuple[float, bool, float]]:
        own = [examples[row] for row in rows]
        scores = model.score(points[list(rows)].to(model.device), _strands(model, own))
        nll, exact, margin = (each.view(-1, 2).cpu() for each in scores)
        return list(
            zip(nll.sum(1).tolist(), exact.all(1).tolist(), margin.amin(1).tolist(), strict=True)
        )

    rows = range(len(points))
    parts = [rows[start : start + _PART] for start in range(0, len(points), _PART)]
    values = [each for part in parts for each in in_parts(some, part)]
    loss, exact, margin = zip(*values, strict=True)
    return Losses(torch.tensor(loss), torch.tensor(exact), torch.tensor(margin))


def gradients(model: Generator, points: Tensor, examples: Sequence[Example]) -> Tensor:
    """[R, K, D]: the gradient of each content's loss in it; on the CPU."""
    found = []
    for start in range(0, len(points), _PART):
        own = points[start : start + _PART].to(model.device).requires_grad_()
        scores = model.score(own, _strands(model, examples[start : start + _PART]))
        (gradient,) = torch.autograd.grad(scores.nll.sum(), own)
        found.append(gradient.cpu())
    return torch.cat(found)
