"""WrongAnswer: each question with a wrong answer of the same kind."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property

import attrs

from dcm import DatasetError, Example, TaskDataset, fields, normalise

_MARK = "~wrong-answer"


@attrs.frozen
class WrongAnswer(TaskDataset):
    """Each question of another data set with one of its wrong alternatives as the answer.

    The alternatives of an example are the texts in `metadata["alternatives"]`, where the set has
    them; else the answers to the other questions on the same passage. Those that equal an
    accepted answer after normalisation are none. Examples without an alternative are left out
    and counted. Ids are "<id>~wrong-answer", aliases are dropped, and `metadata["right_answer"]`
    is the set's own answer. A text is graded by exact match and F1 against the wrong answer.

    Attributes:
        dataset: where the examples come from.
        seed: chooses among the alternatives.
    """

    dataset: TaskDataset = attrs.field(converter=fields.dataset)
    seed: int = 0

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        place, wrong = self._chosen[index]
        example = self.dataset[place]
        return attrs.evolve(
            example,
            id=example.id + _MARK,
            answer=wrong,
            aliases=(),
            metadata={**example.metadata, "right_answer": example.answer},
        )

    @property
    def skipped(self) -> Mapping[str, int]:
        left_out = len(self.dataset) - len(self)
        return {
            **self.dataset.skipped,
            **({"without an alternative": left_out} if left_out else {}),
        }

    @cached_property
    def _chosen(self) -> list[tuple[int, str]]:
        """Index and wrong answer of every example that has one.

        Raises:
            DatasetError: none has.
        """
        on_passage: dict[int, list[str]] = {}
        for example in self.dataset:
            if example.context:
                on_passage.setdefault(hash(example.context), []).append(example.answer)
        chosen = []
        for place, example in enumerate(self.dataset):
            passage = on_passage.get(hash(example.context), []) if example.context else []
            wrong = _wrong(example, passage)
            if wrong:
                draw = random.Random(f"{self.seed} {example.id}")  # noqa: S311 - not for cryptography
                chosen.append((place, draw.choice(wrong)))
        if not chosen:
            there = "No example has metadata['alternatives'] or shares its passage with another"
            do = "Use a set with alternatives, or the control 'shuffled'"
            raise DatasetError("there is no wrong answer to any question", there, do)
        return chosen


def _wrong(example: Example, passage: Sequence[str]) -> list[str]:
    """The alternatives that are not right, each once, in order."""
    right = {normalise(answer) for answer in (example.answer, *example.aliases)}
    given = example.metadata.get("alternatives")
    alternatives = given if isinstance(given, list | tuple) else passage
    found: dict[str, str] = {}
    for text in alternatives:
        if isinstance(text, str) and text.strip() and normalise(text) not in right:
            found.setdefault(normalise(text), text)
    return list(found.values())
