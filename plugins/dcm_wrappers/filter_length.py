"""FilterLength: leaves out examples whose texts are too short or too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

import attrs

from dcm import DatasetError, Example, TaskDataset, fields
from dcm.fields import one_of

_at_least_one = attrs.validators.optional(attrs.validators.ge(1))


@attrs.frozen
class FilterLength(TaskDataset):
    """The examples of another data set whose length is within bounds; ids are kept.

    Those left out are counted in `skipped` as "too short" or "too long".

    Attributes:
        dataset: where the examples come from.
        part: what is measured: "question", "answer", or "total", the sum of both.
        min_characters: fewest characters; None for no bound.
        max_characters: most characters; None for no bound.
        max_tokens: most tokens, without special ones; None for no bound. Needs `tokenizer`.
        tokenizer: folder or hub name of a transformers tokenizer that counts the tokens; a name
            that is no folder is fetched from the hub unless it is in the cache.

    Raises:
        ValueError: no bound is given, or only one of `max_tokens` and `tokenizer`.
    """

    dataset: TaskDataset = attrs.field(converter=fields.dataset)
    part: Literal["question", "answer", "total"] = attrs.field(
        default="total", validator=one_of("question", "answer", "total")
    )
    min_characters: int | None = attrs.field(default=None, validator=_at_least_one)
    max_characters: int | None = attrs.field(default=None, validator=_at_least_one)
    max_tokens: int | None = attrs.field(default=None, validator=_at_least_one)
    tokenizer: str | None = None

    def __attrs_post_init__(self) -> None:
        if (self.max_tokens is None) != (self.tokenizer is None):
            raise ValueError("max_tokens and tokenizer need each other")
        if {self.min_characters, self.max_characters, self.max_tokens} == {None}:
            raise ValueError("give min_characters, max_characters or max_tokens")

    def __len__(self) -> int:
        return len(self._kept[0])

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        return self.dataset[self._kept[0][index]]

    @property
    def skipped(self) -> Mapping[str, int]:
        return dict(Counter(self.dataset.skipped) + self._kept[1])

    def grade(self, example: Example, text: str) -> dict[str, float]:
        return self.dataset.grade(example, text)

    @cached_property
    def _kept(self) -> tuple[list[int], Counter[str]]:
        """Which examples are kept, and counts of the others."""
        tokens = None if self.tokenizer is None else _token_counter(self.tokenizer)
        kept: list[int] = []
        skipped: Counter[str] = Counter()
        for index, example in enumerate(self.dataset):
            parts = (
                (example.question, example.answer)
                if self.part == "total"
                else (getattr(example, self.part),)
            )
            characters = sum(map(len, parts))
            if self.min_characters is not None and characters < self.min_characters:
                skipped["too short"] += 1
            elif (self.max_characters is not None and characters > self.max_characters) or (
                tokens and self.max_tokens is not None and sum(map(tokens, parts)) > self.max_tokens
            ):
                skipped["too long"] += 1
            else:
                kept.append(index)
        if not kept:
            left = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
            raise DatasetError("the set is empty", f"Left out: {left}", "Widen the bounds")
        return kept, skipped


def _token_counter(name: str) -> Callable[[str], int]:
    try:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # the library raises many kinds
        there = f"{type(error).__name__}: {error}".splitlines()[0]
        asked = f"the tokenizer {name!r} cannot be loaded"
        raise DatasetError(asked, there, "Check the folder, or name and network") from error
    # Not verbose: that a text is too long for the model is what it is asked for.
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False, verbose=False))
