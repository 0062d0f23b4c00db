"""Question-answer pairs in JSONL."""

from __future__ import annotations

import attrs

from dcm.reading import Collected, json_lines
from dcm_tables.table import Table


@attrs.frozen
class Jsonl(Table):
    """Question-answer pairs of a JSONL file: an object a line. Rows with an empty question or
    answer are left out and counted.

    Attributes:
        path: the file; .gz and .xz are decompressed.
        question: the field of the question.
        answer: the field of the answer.
        id: the field of the id, a text or whole number; None makes the line's number the id.
        context: the field of a passage the answer can be read from; None if there is none.
        variants: the fields of paraphrases of the question, a name or several: each a list of
            texts, a text, or null for none.
        answer_variants: likewise of the answer.
        on_error: "skip" leaves out malformed lines, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
    """

    def read(self) -> Collected:
        return self.choose(json_lines(self.path))
