"""Question-answer pairs in JSONL."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from dcm.reading import TextLines, json_lines
from dcm_tables.table import Table


@attrs.frozen
class Jsonl(Table):
    """Question-answer pairs of a JSONL file: an object a line. Names of fields may differ in case.
    Rows with an empty question or answer are left out and counted.

    Attributes:
        path: the file, or a folder whose .jsonl files are read one after the other; .gz and .xz are
            decompressed.
        question: the field of the question.
        answer: the field of the answer: a text, a number, or a list of them, of which the first is
            the answer and the others are accepted too; the default takes `answers` as well.
        id: the field of the id; None makes the line's number the id, after the file's name where
            path is a folder.
        context: the field of a passage the answer can be read from; None if there is none.
        aliases: the fields of other accepted answers, a name or several, each as the answer or
            null.
        variants: the fields of paraphrases of the question, a name or several: each a text, a list
            of texts, or null.
        answer_variants: likewise of the answer.
        on_error: "skip" leaves out malformed rows, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
    """

    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def rows(self, path: Path) -> TextLines:
        return json_lines(path)
