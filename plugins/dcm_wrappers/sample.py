"""Sample: a random part of a data set."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cached_property

import attrs

from dcm import DatasetError, Example, TaskDataset, fields


@attrs.frozen
class Sample(TaskDataset):
    """`count` examples of another data set, each once, in random order; ids are kept.

    Attributes:
        dataset: where the examples come from.
        count: how many to draw.
        seed: chooses them.
    """

    dataset: TaskDataset = attrs.field(converter=fields.dataset)
    count: int = attrs.field(validator=attrs.validators.ge(1))
    seed: int = 0

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        return self.dataset[self._drawn[index]]

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.dataset.skipped

    def grade(self, example: Example, text: str) -> dict[str, float]:
        return self.dataset.grade(example, text)

    @cached_property
    def _drawn(self) -> list[int]:
        there = len(self.dataset)
        if self.count > there:
            asked = f"a sample of {self.count} cannot be drawn"
            raise DatasetError(asked, f"The data set has {there} examples", "Lower count")
        draw = random.Random(self.seed)  # noqa: S311 - not for cryptography
        return draw.sample(range(there), self.count)
