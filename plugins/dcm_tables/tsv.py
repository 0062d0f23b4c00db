"""Question-answer pairs in TSV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import attrs

from dcm.reading import CsvRows, Placed
from dcm_tables.separated import Separated


@attrs.frozen
class Tsv(Separated):
    """Question-answer pairs of a file with a header and tabs between columns, quoted as in CSV.
    Names of columns may differ in case. Rows with an empty question or answer are left out and
    counted. The text may be UTF-8, UTF-16 or, if it is neither, cp1252.

    Attributes:
        path: the file, or a folder whose .tsv files are read one after the other; .gz and .xz are
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
        encoding: Python's name of the encoding, such as "cp1250"; None finds it.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
    """

    endings: ClassVar[tuple[str, ...]] = (".tsv", ".tab")

    def rows(self, path: Path) -> CsvRows:
        return self.opened(path, "\t")

    def remark(self, rows: Iterable[Placed]) -> str:
        return super().remark(rows).removesuffix("tabs between columns").rstrip(", ")
