"""Answer and Threshold: what a memory says to a question, and from where on it says nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from dcm.memory.segment import FOLDER
from dcm.running.disk import write_json

THRESHOLD = f"{FOLDER}/threshold.json"


@attrs.frozen
class Candidate:
    """One content that was measured.

    Attributes:
        id: its item.
        question: the item's stored question.
        answer: the item's stored answer.
        loss: nats, L(text | question mode, c).
        relevance: how near the stored question's words are, BM25 of their trigrams.
        score: `loss` less the relevance as far as it counts; the lower the better.
    """

    id: str
    question: str
    answer: str
    loss: float
    relevance: float
    score: float


@attrs.frozen
class Answer:
    """What a memory says to a question.

    Attributes:
        text: what the best content generates under the answer mode; it is decoded even where
            no memory fits.
        id: the item of the best content.
        loss: nats, L(question | question mode, c) behind the best content.
        margin: how much worse the best content with another stored answer scores, in nats;
            infinite where there is none.
        fits: whether the margin reaches the memory's threshold; None where it has none.
        candidates: the best contents, best first.
    """

    text: str
    id: str
    loss: float
    margin: float
    fits: bool | None
    candidates: tuple[Candidate, ...]


@attrs.frozen
class Threshold:
    """From where on no memory fits.

    Attributes:
        margin: nats; an answer with a smaller margin does not fit.
        false_answers: the share of the unrelated questions that got an answer all the same.
        questions: how many unrelated questions it was found with.
        of: "memory" where they were the memory's own, asked of all other items, or "given".
        items: how many items the memory had.
    """

    margin: float
    false_answers: float
    questions: int
    of: str
    items: int

    @classmethod
    def kept(cls, paths: Sequence[Path]) -> Threshold | None:
        """What was kept beside the runs; the strictest of several."""
        found = []
        for path in paths:
            try:
                found.append(cls(**json.loads((path / THRESHOLD).read_text(encoding="utf-8"))))
            except (OSError, TypeError, ValueError):
                return None
        return max(found, key=lambda each: each.margin)

    def keep(self, paths: Sequence[Path]) -> None:
        """Write it beside each run."""
        for path in paths:
            (path / FOLDER).mkdir(exist_ok=True)
            write_json(path / THRESHOLD, attrs.asdict(self))
