"""Question-answer pairs in columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from dcm import Example
from dcm.reading import (
    Collected,
    OnError,
    Source,
    StoredDataset,
    Unusable,
    collect,
    field,
    identifier,
    path_text,
    question_text,
    texts,
)


def _columns(names: str | Iterable[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (names,) if isinstance(names, str) else tuple(names)


@attrs.frozen
class Table(StoredDataset):
    """Pairs in columns of a file; subclasses say how rows are read.

    Attributes:
        path: the file.
        question: the column of the question.
        answer: the column of the answer.
        id: the column of the id; None makes the number of the row's line the id.
        context: the column of a passage the answer can be read from; None if there is none.
        variants: the columns of paraphrases of the question, a name or several.
        answer_variants: likewise of the answer.
        on_error: "skip" leaves out malformed rows, "stop" raises.
    """

    path: str = attrs.field(converter=path_text)
    question: str = "question"
    answer: str = "answer"
    id: str | None = None
    context: str | None = None
    variants: tuple[str, ...] = attrs.field(
        default=(),
        converter=_columns,
        validator=attrs.validators.deep_iterable(attrs.validators.instance_of(str)),
    )
    answer_variants: tuple[str, ...] = attrs.field(
        default=(),
        converter=_columns,
        validator=attrs.validators.deep_iterable(attrs.validators.instance_of(str)),
    )
    on_error: OnError = attrs.field(
        default="stop", validator=attrs.validators.in_(("stop", "skip"))
    )

    def choose(self, rows: Source) -> Collected:
        """Collect examples from rows.

        Raises:
            DatasetError: as `dcm.reading.collect`.
        """
        return collect(
            rows,
            self._example,
            offset=self.offset,
            limit=self.limit,
            seed=self.seed,
            on_error=self.on_error,
        )

    def _example(self, row: Any, place: str) -> Example:
        question = question_text(row, self.question, place)
        answer = field(row, self.answer, str, place)
        if not answer.strip():
            raise Unusable("without an answer")
        id = identifier(row, self.id, place) if self.id else place.rpartition(":")[2]
        context = field(row, self.context, (str, type(None)), place) if self.context else None
        variants = {
            "question": _variants(self.variants, row, place),
            "answer": _variants(self.answer_variants, row, place),
        }
        return Example(id, question, answer, variants=variants, context=context or None)


def _variants(columns: Iterable[str], row: Any, place: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for column in columns:
        value = field(row, column, (str, list, type(None)), place)
        listed = value if isinstance(value, list) else [value or ""]
        found.update(dict.fromkeys(texts(listed, column, place)))
    return tuple(found)
