"""CsvRows: the rows of a table with a header."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from dcm.errors import DatasetError
from dcm.records.choosing import Key, Placed
from dcm.records.files import LONGEST, is_compressed, open_bytes
from dcm.records.lines import FileSource, Lines
from dcm.records.reading import names_of, spelling
from dcm.records.table_form import SEPARATOR_LINE, TableForm, find_form


class CsvRows(FileSource):
    """The rows of a CSV file with a header, as column -> text.

    Args:
        path: the file.
        delimiter: what stands between two cells; None finds it.
        encoding: Python's name of the encoding; None finds it.
    """

    def __init__(
        self, path: str | Path, delimiter: str | None = None, encoding: str | None = None
    ) -> None:
        super().__init__(path)
        self._given = (delimiter, encoding)

    @cached_property
    def form(self) -> TableForm:
        """How the file is written, as given or found.

        Raises:
            DatasetError: the file cannot be read, or how it is written cannot be told.
        """
        return find_form(self.path, *self._given)

    @property
    def seekable(self) -> bool:
        return self.form.by_line and not is_compressed(self.path)

    @cached_property
    def header(self) -> tuple[str, ...]:
        """The names of the columns, in order.

        Raises:
            DatasetError: the file is empty, or two columns have one name.
        """
        with self._open() as lines:
            _, (place, raw) = next(self._rows(lines), ((0, 1), ("", ())))
        if isinstance(raw, DatasetError):
            raise raw
        if not raw:
            raise DatasetError("the file is empty", "", "It needs a header", place=str(self.path))
        # Columns without a name, which spreadsheets leave behind, are nobody's.
        twice = sorted({name for name in raw if name.strip() and raw.count(name) > 1})
        if twice:
            raise DatasetError(f"two columns have one name: {', '.join(twice)}", place=place)
        return tuple(raw)

    def require(self, *columns: str | None, otherwise: str) -> None:
        """Check that the header has these columns, in any case; None stands for none.

        Args:
            columns: their names.
            otherwise: what to do where one is not there.

        Raises:
            DatasetError: it has not.
        """
        for column in columns:
            if column is not None and spelling(self.header, column) not in self.header:
                there = f"It has the columns {names_of(self.header)}"
                close = get_close_matches(column, self.header, n=1)
                do = f"Did you mean {close[0]!r}?" if close else otherwise
                raise DatasetError(f"no column {column!r}", there, do, place=f"{self.path}:1")

    def raw(self) -> Iterator[tuple[Key, Placed]]:
        self.header  # noqa: B018 - what is wrong with it is said before the first row is
        with self._open() as lines:
            rows = self._rows(lines)
            next(rows)
            yield from rows

    @contextmanager
    def _open(self) -> Iterator[Lines]:
        with open_bytes(self.path) as file:
            if self.form.by_line:
                yield Lines(file, self.path)
                return
            # Such lines have no place to go back to, so they are decoded as one text.
            with io.TextIOWrapper(file, self.form.encoding, newline="") as text:
                yield Lines(text, self.path)

    def _raw(self, lines: Lines) -> Iterator[tuple[Key, Placed]]:
        return self._rows(lines)

    def _rows(self, lines: Lines) -> Iterator[tuple[Key, Placed]]:
        csv.field_size_limit(LONGEST)  # of the process; by default cells end at 131,072 characters
        # A map goes on after an error, as csv.reader does; a generator would not.
        reader = csv.reader(map(self._text, lines), delimiter=self.form.delimiter, strict=True)
        while True:
            key = lines.key
            place = f"{self.path}:{key[1]}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                there = f"Byte {error.object[error.start]:#04x} cannot be decoded"
                do = "Give the file's own by the field encoding, such as encoding=cp1252"
                asked = f"the row is no {self.form.encoding} text"
                yield key, (place, DatasetError(asked, there, do, place=place))
            except csv.Error as error:
                yield key, (place, DatasetError("the row is no CSV", str(error), place=place))
            else:
                first = key[1] == 1 and SEPARATOR_LINE.fullmatch(self.form.delimiter.join(cells))
                if cells and not first:
                    yield key, (place, cells)

    def _text(self, line: bytes | str) -> str:
        if isinstance(line, str):
            return line.removeprefix("\ufeff")
        return line.removeprefix(codecs.BOM_UTF8).decode(self.form.encoding)

    def decode(self, raw: Any, place: str) -> Any:
        if isinstance(raw, DatasetError):
            raise raw
        if len(raw) != len(self.header):
            there = f"It has {len(raw)} cells, the header has {len(self.header)}"
            do = "Mend it, or leave such rows out by on_error=skip"
            raise DatasetError("the row does not fit its header", there, do, place=place)
        return dict(zip(self.header, raw, strict=True))


def csv_rows(
    path: str | Path, delimiter: str | None = None, encoding: str | None = None
) -> CsvRows:
    """(place, column -> text) for every row of a CSV file with a header.

    Args:
        path: the file.
        delimiter: what stands between two cells; None finds it.
        encoding: Python's name of the encoding; None finds it.

    Raises:
        DatasetError: the file cannot be read or has no header, or a row does not fit it.
    """
    return CsvRows(path, delimiter, encoding)
