"""Shuffled: each question with the answer of another, as a control."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cached_property

import attrs

from dcm import DatasetError, Example, TaskDataset, fields

_MARK = "~shuffled"


@attrs.frozen
class Shuffled(TaskDataset):
    """Each question of another data set with the answer of another of its examples.

    Every answer is used once, none stays with its question, and none meets a question whose own
    answer is the same text, unless more than half of all answers are the same: then as few as can
    be. Ids are "<id>~shuffled". `metadata["answer_of"]` is the id of the example that the answer
    comes from, `metadata["answer_index"]` its index. Aliases and variants of the answer are
    dropped; context, the question's variants and other metadata are those of the question.

    A text is graded as an answer to the question that the answer comes from.

    Attributes:
        dataset: where the examples come from; two at least.
        seed: chooses who gets whose answer.
    """

    dataset: TaskDataset = attrs.field(converter=fields.dataset)
    seed: int = 0

    def __len__(self) -> int:
        return len(self._givers)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        asked, giver = self.dataset[index], self.dataset[self._givers[index]]
        whose = {"answer_of": giver.id, "answer_index": self._givers[index]}
        return attrs.evolve(
            asked,
            id=asked.id + _MARK,
            answer=giver.answer,
            aliases=(),
            variants={"question": asked.variants.get("question", ())},
            metadata={**asked.metadata, **whose},
        )

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.dataset.skipped

    def grade(self, example: Example, text: str) -> dict[str, float]:
        giver = self.dataset[example.metadata["answer_index"]]
        return self.dataset.grade(attrs.evolve(giver, aliases=()), text)

    @cached_property
    def _givers(self) -> list[int]:
        """For each example, the index of the one whose answer it gets.

        Examples stand in a circle, those of one answer together, else in random order; each gets
        the answer of the one that stands as far on as the most frequent answer is long. That
        leaves a block of equal answers, and comes back to none, where this is possible at all.
        """
        holders: dict[str, list[int]] = {}
        for index, example in enumerate(self.dataset):
            holders.setdefault(example.answer, []).append(index)
        blocks = list(holders.values())
        count = sum(map(len, blocks))
        if count < 2:
            raise DatasetError("one example cannot be shuffled", "", "Take two at least")
        draw = random.Random(self.seed)  # noqa: S311 - not for cryptography
        draw.shuffle(blocks)
        for block in blocks:
            draw.shuffle(block)
        circle = [index for block in blocks for index in block]
        step = max(map(len, blocks)) % count or 1
        givers = [0] * count
        for place, index in enumerate(circle):
            givers[index] = circle[(place + step) % count]
        return givers
