"""Paraphrased: a data set, and the paraphrases that were made of its texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import attrs

from dcm import DatasetError, Example, TaskDataset
from dcm.reading import field, json_lines, path_text, texts

_MODES = ("question", "answer")


@attrs.frozen
class Paraphrased(TaskDataset):
    """Another data set, with the variants that `dcm paraphrase` made of its examples.

    An example that the file does not have keeps its own variants. Grades are those of the other
    data set.

    Attributes:
        dataset: where the examples come from.
        path: the JSONL file: objects with `id`, `question`, `answer`, and the lists
            `question_variants` and `answer_variants`.
        skip: how many of the first variants of each text to leave out, to ask with them later.
        most: how many variants of each text to take at most after those; None for all.
    """

    dataset: TaskDataset = attrs.field(validator=attrs.validators.instance_of(TaskDataset))
    path: str = attrs.field(converter=path_text)
    skip: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    most: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        example = self.dataset[index]
        made = self._made.get(example.id)
        if made is None:
            return example
        if made.texts != (example.question, example.answer):
            asked = f"the paraphrases of {example.id!r} were made of other texts"
            there = f"They are of {made.texts[0]!r} and {made.texts[1]!r}"
            do = "Make them of this data set, by dcm paraphrase"
            raise DatasetError(asked, there, do, place=made.place)
        end = None if self.most is None else self.skip + self.most
        variants = {mode: each[self.skip : end] for mode, each in made.variants.items()}
        return attrs.evolve(example, variants=variants)

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.dataset.skipped

    def grade(self, example: Example, text: str) -> dict[str, float]:
        return self.dataset.grade(example, text)

    @cached_property
    def _made(self) -> dict[str, _Made]:
        found = {}
        for place, record in json_lines(self.path):
            if isinstance(record, DatasetError):
                raise record
            id = field(record, "id", str, place)
            of = tuple(field(record, mode, str, place) for mode in _MODES)
            variants = {}
            for mode in _MODES:
                name = f"{mode}_variants"
                variants[mode] = texts(field(record, name, list, place), name, place)
            found[id] = _Made(place, of, variants)
        return found


class _Made(NamedTuple):
    """What one line has: its place, the texts paraphrased, and mode -> paraphrases."""

    place: str
    texts: tuple[str, ...]
    variants: Mapping[str, tuple[str, ...]]
