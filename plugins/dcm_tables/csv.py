"""Question-answer pairs in CSV."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from dcm.reading import CsvRows
from dcm_tables.separated import Separated


def _one_character(instance: object, attribute: object, value: str | None) -> None:
    if value is not None and (len(value) != 1 or value in '\r\n"'):
        raise ValueError(f"delimiter must be one character such as ';', not {value!r}")


@attrs.frozen
class Csv(Separated):
    """Question-answer pairs of a CSV file with a header, as RFC 4180 or a spreadsheet program
    writes it. Names of columns may differ in case. Rows with an empty question or answer are left
    out and counted.

    Columns may be separated by commas, semicolons, tabs or bars, and the text may be UTF-8, UTF-16
    or, if it is neither, cp1252: what is found is told where it is not commas and UTF-8.

    Attributes:
        path: the file, or a folder whose .csv files are read one after the other; .gz and .xz are
            decompressed.
        question: the column of the question.
        answer: the column of the answer; the default takes `answers` as well.
        id: the column of the id; None makes the number of the row's first line the id, after the
            file's name where path is a folder.
        context: the column of a passage the answer can be read from; None if there is none.
        aliases: the columns of other accepted answers, a name or several.
        variants: the columns of paraphrases of the question, a name or several: a paraphrase a
            column, taken as it stands. An empty cell is none.
        answer_variants: likewise of the answer.
        on_error: "skip" leaves out malformed rows, "stop" raises.
        delimiter: what separates columns, one character; None finds it.
        encoding: Python's name of the encoding, such as "cp1250"; None finds it.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv",)

    delimiter: str | None = attrs.field(default=None, kw_only=True, validator=_one_character)

    def rows(self, path: Path) -> CsvRows:
        return self.opened(path, self.delimiter)
