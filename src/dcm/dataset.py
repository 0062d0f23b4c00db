"""TaskDataset: where examples come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import attrs

from dcm.example import Example
from dcm.grading import normalised_match, token_f1


class TaskDataset(ABC):
    """A finite, ordered set of examples with stable ids.

    A data set is a frozen attrs class whose fields say what to read. Nothing is read before the
    first `len`, index or iteration, and nothing is fetched from a network unless a field names
    something to fetch.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of usable examples.

        Raises:
            DatasetError: the source is missing or malformed; the message names the place.
        """

    @abstractmethod
    def __getitem__(self, index: int) -> Example:
        """The example at `index`, 0 <= index < len(self).

        Raises:
            IndexError: there is no such example.
            DatasetError: the source is missing or malformed; the message names the place.
        """

    def __iter__(self) -> Iterator[Example]:
        for index in range(len(self)):
            yield self[index]

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many records were left out, by reason. Empty where every record is usable."""
        return {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know of how the source was read, such as an encoding that was
        found, a sentence each. By default those of the data sets that its fields hold."""
        found: list[str] = []
        cls: type = type(self)
        for field in attrs.fields(cls) if attrs.has(cls) else ():
            value = getattr(self, field.name)
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, TaskDataset):
                    found.extend(each.remarks)
        return tuple(found)

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """Grade a generated answer the way this data set's field does: flat scores in [0, 1].

        By default `exact_match` and `f1` over the answer and its aliases, after the normalisation
        of the SQuAD evaluation script (lower case, no punctuation, no articles).
        """
        accepted = (example.answer, *example.aliases)
        return {
            "exact_match": max(float(normalised_match(text, answer)) for answer in accepted),
            "f1": max(token_f1(text, answer) for answer in accepted),
        }
