"""Question-answer pairs in columns."""

from __future__ import annotations

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
)


@attrs.frozen
class Table(StoredDataset):
    """Pairs in columns of a file; subclasses say how rows are read.

    Attributes:
        path: the file.
        question: the column of the question.
        answer: the column of the answer.
        id: the column of the id; None makes the number of the row's line the id.
        context: the column of a passage the answer can be read from; None if there is none.
        on_error: "skip" leaves out malformed rows, "stop" raises.
    """

    path: str = attrs.field(converter=path_text)
    question: str = "question"
    answer: str = "answer"
    id: str | None = None
    context: str | None = None
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
        return Example(id, question, answer, context=context or None)
