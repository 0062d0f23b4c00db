"""What CSV and TSV files have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs

from dcm.reading import CsvRows, Placed, csv_rows
from dcm_tables.table import Table


@attrs.frozen
class Separated(Table):
    """Pairs in a text file with a header, cells being separated by a delimiter.

    Attributes:
        encoding: Python's name of the encoding; None finds it.
    """

    encoding: str | None = attrs.field(default=None, kw_only=True)

    def opened(self, path: Path, delimiter: str | None) -> CsvRows:
        """The rows of a file whose header has the columns that are named."""
        rows = csv_rows(path, delimiter, self.encoding)
        answer = self.answer_column(rows.header)
        rows.require(
            self.question,
            answer,
            self.id,
            self.context,
            *self.aliases,
            *self.variants,
            *self.answer_variants,
            otherwise="Say which it is, in a command by --set dataset.question=NAME",
        )
        return rows

    def remark(self, rows: Iterable[Placed]) -> str:
        return rows.form.remark if isinstance(rows, CsvRows) else ""
