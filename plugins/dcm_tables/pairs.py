"""Question-answer pairs that are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from dcm import Example, TaskDataset


def _pairs(given: Any) -> tuple[tuple[str, ...], ...]:
    listed = given.items() if isinstance(given, Mapping) else given
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise ValueError(f"pairs must be a list of (question, answer), not {given!r:.80}")
    found = []
    for number, pair in enumerate(listed):
        texts = pair if isinstance(pair, list | tuple) else ()
        if len(texts) == 2 and isinstance(texts[1], list | tuple):
            texts = (texts[0], *texts[1])
        if len(texts) < 2 or not all(isinstance(each, str) and each.strip() for each in texts):
            raise ValueError(
                f"pair {number} must be a question and its answer, two texts, not {pair!r:.80}"
            )
        found.append(tuple(texts))
    if not found:
        raise ValueError("there must be one pair at least")
    return tuple(found)


@attrs.frozen
class Pairs(TaskDataset):
    """Question-answer pairs that are at hand in Python. Ids are their numbers, from 0.

    They stand as a whole in the run's experiment.json; large sets belong into a file.

    Attributes:
        pairs: (question, answer) texts, or question -> answer; what follows an answer, or a list in
            its place, is accepted too.
    """

    pairs: tuple[tuple[str, ...], ...] = attrs.field(converter=_pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        question, answer, *aliases = self.pairs[index]
        return Example(str(index), question, answer, aliases=aliases)
