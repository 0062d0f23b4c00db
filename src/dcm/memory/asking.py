"""Asking: which contents explain a text best."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from dcm.errors import UsageError
from dcm.memory.answer import Answer, Candidate, Threshold
from dcm.memory.memory import mode_vector
from dcm.memory_limit import in_parts
from dcm.strands import Strands

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
    memory: Memory, texts: Sequence[str], top: int, shortlist: int | None
) -> list[Answer]:
    """See `Memory.ask_all`."""
    ranked = [
        sorted(each, key=lambda found: found[1])
        for each in measured(memory, texts, shortlist_of(memory, texts, shortlist))
    ]
    answers = memory.generate_from([found[0][0] for found in ranked], "answer")
    threshold = memory.threshold
    return [
        Answer(
            text=text,
            id=found[0][0].id,
            loss=found[0][1],
            margin=found[1][1] - found[0][1] if len(found) > 1 else float("inf"),
            fits=None if threshold is None else found[0][1] <= threshold.loss,
            candidates=tuple(
                Candidate(item.id, item.line["question"], loss) for item, loss in found[:top]
            ),
        )
        for text, found in zip(answers, ranked, strict=True)
    ]


def shortlist_of(
    memory: Memory, texts: Sequence[str], shortlist: int | None
) -> list[list[MemoryItem]]:
    """For each text the items whose contents are measured.

    Raises:
        UsageError: the memory is empty, or a text is.
    """
    if not len(memory):
        raise UsageError("the memory is empty", "", "Add pairs, or open a run that has some")
    for text in texts:
        if not text.strip():
            raise UsageError("an empty text was asked", "", "Ask a question")
    if shortlist is None:
        every = [memory.numbered(place) for place in memory.places]
        return [every for _ in texts]
    if shortlist < 1:
        raise UsageError(f"shortlist = {shortlist} was asked for", "", "Give at least 1, or None")
    return [[memory.numbered(at) for at in memory.shortlist(text, shortlist)] for text in texts]


def measured(
    memory: Memory, texts: Sequence[str], items: Sequence[Sequence[MemoryItem]]
) -> list[list[tuple[MemoryItem, float]]]:
    """L(text | question mode, c) in nats, for each text behind each of its items."""
    generator = memory.generator
    ids = [generator.encode(text) for text in texts]
    pairs = [(text, item) for text, own in enumerate(items) for item in own]
    losses = [0.0] * len(pairs)

    def loss(some: Sequence[int]) -> list[float]:
        rows: dict[str, int] = {}
        contents, leads = [], []
        for at in some:
            item = pairs[at][1]
            if item.id not in rows:
                rows[item.id] = len(contents)
                contents.append(item.content)
                leads.append(mode_vector(item, "question"))
        row = torch.tensor([rows[pairs[at][1].id] for at in some], device=generator.device)
        layout = "suffix" if pairs[some[0]][1].layout == "suffix" else "prefix"
        strands = Strands(
            row=row,
            lead=torch.stack(leads).to(generator.device)[row],
            ids=[ids[pairs[at][0]] for at in some],
            weight=torch.ones(len(some), device=generator.device),
            rows=len(contents),
            layout=layout,
        )
        with torch.no_grad():
            scores = generator.score(torch.stack(contents).to(generator.device), strands)
        found: list[float] = scores.nll.tolist()
        return found

    shapes = {item.id: (item.slots, item.layout) for _, item in pairs}

    def alike(at: int) -> tuple[int, str]:
        return shapes[pairs[at][1].id]

    most = _GPU_PAIRS if generator.device.type == "cuda" else _CPU_PAIRS
    # Pairs of one item side by side: its content is read once.
    order = sorted(range(len(pairs)), key=lambda at: (*alike(at), pairs[at][1].id))
    for _, group in groupby(order, key=alike):
        own = list(group)
        for some in (own[at : at + most] for at in range(0, len(own), most)):
            for at, nats in zip(some, in_parts(loss, some), strict=True):
                losses[at] = nats
    whole = iter(zip((item for _, item in pairs), losses, strict=True))
    return [[next(whole) for _ in own] for own in items]


def calibrate(memory: Memory, texts: Sequence[str] | None, false_answers: float) -> Threshold:
    """See `Memory.calibrate`."""
    if not 0 <= false_answers < 1:
        raise UsageError(f"false_answers = {false_answers} was asked for", "", "Give a share")
    own = texts is None
    if texts is None:
        places = memory.places
        step = max(1, len(places) // _QUESTIONS)
        asked = [memory.numbered(place) for place in places[::step][:_QUESTIONS]]
        texts = [item.line["question"] for item in asked]
        others = [
            [item for item in near if item.id != self.id and item.line["question"] != text][
                :_NEAREST
            ]
            for self, text, near in zip(
                asked, texts, shortlist_of(memory, texts, _NEAREST + 1), strict=True
            )
        ]
    else:
        others = shortlist_of(memory, texts, _NEAREST)
    best = sorted(
        min(loss for _, loss in found) for found in measured(memory, texts, others) if found
    )
    if len(best) < _LEAST_QUESTIONS:
        asked_for = f"a threshold from {len(best)} unrelated questions was asked for"
        do = f"Give at least {_LEAST_QUESTIONS}, such as questions of another data set"
        raise UsageError(asked_for, "They tell too little", do)
    allowed = int(false_answers * len(best))
    # Between the last that may be answered and the first that may not.
    below = best[allowed - 1] if allowed else best[0] - (best[-1] - best[0]) / len(best)
    threshold = Threshold(
        loss=(below + best[allowed]) / 2,
        false_answers=allowed / len(best),
        questions=len(best),
        of="memory" if own else "given",
        items=len(memory),
    )
    threshold.keep(memory.paths)
    return threshold
