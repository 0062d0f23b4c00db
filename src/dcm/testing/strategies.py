"""Hypothesis strategies for what components take and give."""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from dcm.criterion import Observation
from dcm.example import Example
from dcm.objective import Objective
from dcm.optimizer import State
from dcm.outcome import Outcome, Status
from dcm.strands import Strands


# Strategies are made once: to make one takes longer than to draw from it.
@cache
def texts(max_size: int = 30) -> SearchStrategy[str]:
    """Texts with more than white space, in Unicode's composed form (NFC).

    Some tokenizers compose what they read, so other forms cannot come back.
    """
    text = st.text(max_size=max_size).map(lambda text: unicodedata.normalize("NFC", text))
    return text.filter(str.strip)


_TEXT = texts()
_SOME = st.lists(_TEXT, max_size=2)
_PERHAPS = st.none() | _TEXT
_METADATA = st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=2)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Examples with any text, with and without aliases, variants and a context."""
    return Example(
        id=draw(_TEXT),
        question=draw(_TEXT),
        answer=draw(_TEXT),
        aliases=draw(_SOME),
        variants={"question": draw(_SOME), "answer": draw(_SOME)},
        context=draw(_PERHAPS),
        metadata=draw(_METADATA),
    )


def batches(max_size: int = 4) -> SearchStrategy[list[Example]]:
    """One example or more, with different ids."""
    return st.lists(examples(), min_size=1, max_size=max_size, unique_by=lambda each: each.id)


@cache
def numbers(low: float = -10.0, high: float = 10.0) -> SearchStrategy[float]:
    """Finite numbers that float32 holds exactly."""
    return st.floats(low, high, width=32)


@cache
def _lists(count: int, each: SearchStrategy[float]) -> SearchStrategy[list[float]]:
    return st.lists(each, min_size=count, max_size=count)


@st.composite
def tensors(draw: st.DrawFn, *shape: int, elements: SearchStrategy[float] | None = None) -> Tensor:
    """Float32 tensors of a shape on the CPU.

    Args:
        draw: given by hypothesis.
        shape: the shape.
        elements: what they hold; finite numbers by default.
    """
    count = math.prod(shape)
    each = numbers() if elements is None else elements
    return torch.tensor(draw(_lists(count, each))).reshape(shape)


@st.composite
def states(draw: st.DrawFn, rows: int) -> State:
    """States of an optimiser or a criterion: trees of tensors with `rows` as their first axis."""
    leaf = st.sampled_from([(), (2,), (2, 3)]).flatmap(lambda tail: tensors(rows, *tail))

    def branches(child: SearchStrategy[Any]) -> SearchStrategy[Any]:
        few = st.lists(child, max_size=3)
        return few | few.map(tuple) | st.dictionaries(st.sampled_from("abc"), child, max_size=3)

    return draw(st.recursive(leaf, branches, max_leaves=5))


def strands_of(objective: Objective, batch: list[Example]) -> Strands:
    """The strands of examples, one row each: ids of one token a byte, mode vectors of zeros."""
    targets = [(row, each) for row, it in enumerate(batch) for each in objective.targets(it)]
    return Strands(
        row=torch.tensor([row for row, _ in targets]),
        lead=torch.zeros(len(targets), 4),
        ids=[(*target.text.encode(), 0) for _, target in targets],
        weight=torch.tensor([target.weight for _, target in targets]),
        rows=len(batch),
        modes=[target.mode for _, target in targets],
        owners=[row for row, _ in targets],
        checked=torch.tensor([target.checked for _, target in targets]),
        draw=torch.arange(len(batch)) * 1_000_003 + 7,
    )


@st.composite
def observations(draw: st.DrawFn, max_steps: int = 5) -> list[Observation]:
    """What is measured of 1 to 4 rows of 1 to 3 strands, step after step."""
    row = [row for row in range(draw(st.integers(1, 4))) for _ in range(draw(st.integers(1, 3)))]
    count = len(row)
    rows = torch.tensor(row)
    baselines = [draw(tensors(count, elements=numbers(0.125, 10))) for _ in range(2)]
    seen = []
    for step in range(1, draw(st.integers(1, max_steps)) + 1):
        nll = draw(tensors(count, elements=numbers(0, 10)))
        margin = draw(tensors(count, elements=numbers(-5, 5)))
        seen.append(
            Observation(
                loss=torch.zeros(row[-1] + 1).index_add(0, rows, nll),
                row=rows,
                nll=nll,
                strand_exact=margin > 0,
                strand_margin=margin,
                step=torch.full((row[-1] + 1,), step),
                random=baselines[0],
                full_context=baselines[1],
                logit_noise=0.5,
            )
        )
    return seen


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """Outcomes of any status, whose content, if any, generates what was wanted or something else.

    Contents are [2, 4] zeros: replace them where the width matters.
    """
    example = draw(examples())
    status = draw(st.sampled_from(Status))
    if status is Status.FAILED:
        return Outcome(example, status, reason="it does not fit")
    wanted = {"question": example.question, "answer": example.answer}
    decoded = {
        mode: draw(st.just(text) | texts()) for mode, text in wanted.items() if draw(st.booleans())
    }
    exact = decoded == wanted
    return Outcome(
        example,
        status,
        content=torch.zeros(2, 4),
        attempts=1,
        steps=3,
        row_steps=3,
        losses={mode: draw(numbers(0, 10)) for mode in wanted},
        exact=exact,
        margin=1.0 if exact else -1.0,
        decoded=decoded,
        certified=exact if decoded else None,
    )
