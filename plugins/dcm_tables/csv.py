"""Question-answer pairs in CSV."""

from __future__ import annotations

import attrs

from dcm.reading import Collected, csv_rows
from dcm_tables.table import Table


@attrs.frozen
class Csv(Table):
    """Question-answer pairs of a CSV file with a header, as RFC 4180 writes it. Rows with an empty
    question or answer are left out and counted.

    Attributes:
        path: the file; .gz and .xz are decompressed.
        question: the column of the question.
        answer: the column of the answer.
        id: the column of the id; None makes the number of the row's first line the id.
        context: the column of a passage the answer can be read from; None if there is none.
        variants: the columns of paraphrases of the question, a name or several: a paraphrase a
            column, taken as it stands. An empty cell is none.
        answer_variants: likewise of the answer.
        on_error: "skip" leaves out malformed rows, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
    """

    def read(self) -> Collected:
        rows = csv_rows(self.path)
        rows.require(
            self.question, self.answer, self.id, self.context, *self.variants, *self.answer_variants
        )
        return self.choose(rows)
