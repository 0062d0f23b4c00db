"""RandomTokens: texts without any meaning, as long as those of another data set."""

from __future__ import annotations

import random
from collections.abc import Mapping

import attrs

from dcm import DatasetError, Example, Generator, TaskDataset, fields, find

_MARK = "~random-tokens"
_TRIES = 2_000  # tokens drawn for one place before it is given up


def _nano() -> Generator:
    generator: Generator = find("generator", "nano")()
    return generator


@attrs.frozen
class RandomTokens(TaskDataset):
    """Each question and answer of another data set replaced by random tokens, as many as it has.

    Tokens are drawn one after the other, uniformly among those with which the text so far is
    still encoded as drawn; so a text has exactly as many tokens as the one that it replaces, and
    can be decoded. Ids are "<id>~random-tokens", and an example depends on its id and `seed`
    alone. Aliases, variants and context are dropped. A text is graded by exact match and F1.

    Attributes:
        dataset: where the examples come from.
        generator: whose tokens are drawn. In Python, give the generator that is run: what it has
            loaded is used again.
        seed: seed of the draws.
    """

    dataset: TaskDataset = attrs.field(converter=fields.dataset)
    generator: Generator = attrs.field(
        factory=_nano,
        converter=fields.generator,
    )
    seed: int = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        example = self.dataset[index]
        draw = random.Random(f"{self.seed} {example.id}")  # noqa: S311 - not for cryptography
        return Example(
            example.id + _MARK,
            self._like(example.question, draw, example.id),
            self._like(example.answer, draw, example.id),
            metadata=example.metadata,
        )

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.dataset.skipped

    def _like(self, text: str, draw: random.Random, id: str) -> str:
        """Random text of as many tokens as `text`, the closing one not counted."""
        generator = self.generator
        count = len(generator.encode(text)) - 1
        ids: tuple[int, ...] = ()
        for _ in range(_TRIES * count):
            if len(ids) == count:
                break
            longer = (*ids, draw.randrange(generator.vocabulary))
            written = generator.text(longer)
            same = generator.encode(written)[:-1] == longer
            # An example's text is more than white space.
            if same and (len(longer) < count or written.strip()):
                ids = longer
        if len(ids) < count:
            asked = f"no {count} random tokens were found that are encoded as drawn"
            there = f"{_TRIES} were tried for each place"
            raise DatasetError(asked, there, "Use another generator", place=f"id {id!r}")
        return generator.text(ids)
