"""Concatenate: several data sets, one after another."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate

import attrs

from dcm import Example, TaskDataset


@attrs.frozen
class Concatenate(TaskDataset):
    """Several data sets, one after another.

    The id of an example is always "<position>/<id>", with the position of its data set in
    `datasets` from 0, whether or not ids collide. An example is graded by the set it comes from.

    Attributes:
        datasets: the data sets, one at least.
    """

    datasets: tuple[TaskDataset, ...] = attrs.field(
        converter=tuple,
        validator=[
            attrs.validators.min_len(1),
            attrs.validators.deep_iterable(attrs.validators.instance_of(TaskDataset)),
        ],
    )

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        position = bisect_right(self._ends, index)
        before = self._ends[position - 1] if position else 0
        example = self.datasets[position][index - before]
        return attrs.evolve(example, id=f"{position}/{example.id}")

    @property
    def skipped(self) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for dataset in self.datasets:
            total.update(dataset.skipped)
        return dict(total)

    def grade(self, example: Example, text: str) -> dict[str, float]:
        position, _, id = example.id.partition("/")
        return self.datasets[int(position)].grade(attrs.evolve(example, id=id), text)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return tuple(accumulate(map(len, self.datasets)))
