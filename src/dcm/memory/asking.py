"""Asking: which contents explain a text best."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from dcm.errors import UsageError
from dcm.memory.answer import Answer, Candidate, Threshold
from dcm.memory.item import mode_vector
from dcm.memory_limit import in_parts
from dcm.strands import Layout, Strands

if TYPE_CHECKING:
    from dcm.memory.item import MemoryItem
    from dcm.memory.memory import Memory

# Pairs of a text and a content measured at once, on a CPU and on a GPU.
_CPU_PAIRS, _GPU_PAIRS = 128, 1024

# Questions of its own that a memory is calibrated with, and contents each is measured behind.
_QUESTIONS, _NEAREST = 200, 16

# Fewer unrelated questions tell nothing of a share of 5 %.
_LEAST_QUESTIONS = 20


def ask_all(
    memory: Memory, texts: Sequence[str], top: int, shortlist: int | None, words: float
) -> list[Answer]:
    """See `Memory.ask_all`."""
    found = candidates(memory, texts, shortlist, words)
    best = [memory[each[0].id] for each in found]
    answers, threshold = memory.generate_from(best, "answer"), memory.threshold
    return [
        Answer(
            text=text,
            id=each[0].id,
            loss=each[0].loss,
            margin=margin(each),
            fits=None if threshold is None else margin(each) >= threshold.margin,
            candidates=tuple(each[:top]),
        )
        for text, each in zip(answers, found, strict=True)
    ]


def candidates(
    memory: Memory,
    texts: Sequence[str],
    shortlist: int | None,
    words: float,
    without: Sequence[str] = (),
) -> list[list[Candidate]]:
    """For each text the contents that were measured, best first.

    Args:
        without: for each text the stored question whose items are left out.

    Raises:
        UsageError: the memory is empty, or a text is.
    """
    if not len(memory):
        raise UsageError("the memory is empty", "", "Add pairs, or open a run that has some")
    if shortlist is not None and shortlist < 1:
        raise UsageError(f"shortlist = {shortlist} was asked for", "", "Give at least 1, or None")
    near: list[list[tuple[MemoryItem, float]]] = []
    known: dict[int, MemoryItem] = {}
    for text, left_out in zip(texts, without or [""] * len(texts), strict=True):
        if not text.strip():
            raise UsageError("an empty text was asked", "", "Ask a question")
        own = []
        for place, relevance in memory.shortlist(text, shortlist):
            item = known.setdefault(place, memory.numbered(place))
            if item.line["question"] != left_out:
                own.append((item, relevance))
        near.append(own)
    losses = measured(memory, texts, [[item for item, _ in own] for own in near])
    return [
        sorted(
            (
                Candidate(
                    id=item.id,
                    question=item.line["question"],
                    answer=item.line["answer"],
                    loss=loss,
                    relevance=relevance,
                    score=loss - words * relevance,
                )
                for (item, relevance), loss in zip(own, own_losses, strict=True)
            ),
            key=lambda each: each.score,
        )
        for own, own_losses in zip(near, losses, strict=True)
    ]


def margin(found: Sequence[Candidate]) -> float:
    """How much worse the best candidate with another answer than the first scores."""
    first = found[0]
    others = (each.score for each in found if each.answer != first.answer)
    return next(others, float("inf")) - first.score


def measured(
    memory: Memory, texts: Sequence[str], items: Sequence[Sequence[MemoryItem]]
) -> list[list[float]]:
    """L(text | question mode, c) in nats, for each text behind each of its items."""
    generator = memory.generator
    ids = [generator.encode(text) for text in texts]
    pairs = [(text, item) for text, own in enumerate(items) for item in own]
    losses = [0.0] * len(pairs)

    def loss(some: Sequence[int]) -> list[float]:
        rows: dict[str, int] = {}
        contents: list[torch.Tensor] = []
        leads: list[torch.Tensor] = []
        for at in some:
            item = pairs[at][1]
            if item.id not in rows:
                rows[item.id] = len(contents)
                contents.append(item.content)
                leads.append(mode_vector(item, "question"))
        row = torch.tensor([rows[pairs[at][1].id] for at in some], device=generator.device)
        strands = Strands(
            row=row,
            lead=torch.stack(leads).to(generator.device)[row],
            ids=[ids[pairs[at][0]] for at in some],
            weight=torch.ones(len(some), device=generator.device),
            rows=len(contents),
            layout=pairs[some[0]][1].layout,
        )
        with torch.no_grad():
            scores = generator.score(torch.stack(contents).to(generator.device), strands)
        found: list[float] = scores.nll.tolist()
        return found

    shapes = {item.id: (item.slots, item.layout) for _, item in pairs}

    def alike(at: int) -> tuple[int, Layout]:
        return shapes[pairs[at][1].id]

    most = _GPU_PAIRS if generator.device.type == "cuda" else _CPU_PAIRS
    # Pairs of one item side by side: its content is read once.
    order = sorted(range(len(pairs)), key=lambda at: (*alike(at), pairs[at][1].id))
    for _, group in groupby(order, key=alike):
        own = list(group)
        for some in (own[at : at + most] for at in range(0, len(own), most)):
            for at, nats in zip(some, in_parts(loss, some), strict=True):
                losses[at] = nats
    whole = iter(losses)
    return [[next(whole) for _ in own] for own in items]


def calibrate(
    memory: Memory, texts: Sequence[str] | None, false_answers: float, words: float
) -> Threshold:
    """See `Memory.calibrate`."""
    if not 0 <= false_answers < 1:
        raise UsageError(f"false_answers = {false_answers} was asked for", "", "Give a share")
    of, without = "given", list[str]()
    if texts is None:
        places = memory.places
        asked = [memory.numbered(place) for place in places[:: max(1, len(places) // _QUESTIONS)]]
        of = "memory"
        texts = without = [item.line["question"] for item in asked[:_QUESTIONS]]
    found = candidates(memory, texts, _NEAREST, words, without)
    margins = sorted((margin(each) for each in found if len(each) > 1), reverse=True)
    if len(margins) < _LEAST_QUESTIONS:
        asked_for = f"a threshold from {len(margins)} unrelated questions was asked for"
        do = f"Give at least {_LEAST_QUESTIONS}, such as questions of another data set"
        raise UsageError(asked_for, "They tell too little", do)
    allowed = int(false_answers * len(margins))
    # Between the last that may be answered and the first that may not.
    above = margins[allowed - 1] if allowed else margins[0] + 0.1
    threshold = Threshold(
        margin=(above + margins[allowed]) / 2,
        false_answers=allowed / len(margins),
        questions=len(margins),
        of=of,
        items=len(memory),
    )
    threshold.keep(memory.paths)
    return threshold
