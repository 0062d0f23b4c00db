"""Sources of records: files of lines, rows and JSON, and checks of a record."""

from __future__ import annotations

import codecs
import csv
import json
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from dcm.errors import DatasetError, did_you_mean
from dcm.records.choosing import Key, Placed, Source, Unusable
from dcm.records.files import LONGEST, is_compressed, open_bytes, open_text

_SOME = 20  # names are told in an error


class _FileSource(Source):
    """Records that are one after the other in a file, each from its own line on."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    @property
    def seekable(self) -> bool:
        return not is_compressed(self.path)

    def raw(self) -> Iterator[tuple[Key, Placed]]:
        with open_bytes(self.path) as file:
            yield from self._raw(_Lines(file, self.path))

    def at(self, key: Key) -> Placed:
        with open_bytes(self.path) as file:
            file.seek(key[0])
            for _, placed in self._raw(_Lines(file, self.path, *key)):
                return placed
        raise DatasetError("the file has changed while it was read", place=f"{self.path}:{key[1]}")

    @abstractmethod
    def _raw(self, lines: _Lines) -> Iterator[tuple[Key, Placed]]:
        """Key, place and undecoded form of the records in these lines."""


class _Lines(Iterator[bytes]):
    """Lines of a file; `key` is where the next one begins."""

    def __init__(self, file: IO[bytes], path: str | Path, offset: int = 0, line: int = 1) -> None:
        self._file, self._path = file, path
        self.key = (offset, line)

    def __next__(self) -> bytes:
        line = self._file.readline(LONGEST)
        if not line:
            raise StopIteration
        offset, number = self.key
        if len(line) == LONGEST:
            asked = f"the line is longer than {LONGEST} bytes"
            raise DatasetError(asked, "", "Check the layout", place=f"{self._path}:{number}")
        self.key = (offset + len(line), number + 1)
        return line


class TextLines(_FileSource):
    """The lines of a text file that are not blank, decoded by `decoder(line, place)`."""

    def __init__(self, path: str | Path, decoder: Callable[[str, str], Any]) -> None:
        super().__init__(path)
        self._decoder = decoder

    def _raw(self, lines: _Lines) -> Iterator[tuple[Key, Placed]]:
        key = lines.key
        for line in lines:
            if line.strip():
                yield key, (f"{self.path}:{key[1]}", line)
            key = lines.key

    def decode(self, raw: Any, place: str) -> Any:
        return self._decoder(_text(raw, place).rstrip("\r\n"), place)


class CsvRows(_FileSource):
    """The rows of a CSV file with a header, as column -> text."""

    @cached_property
    def header(self) -> tuple[str, ...]:
        """The names of the columns, in order.

        Raises:
            DatasetError: the file is empty, or two columns have one name.
        """
        with open_bytes(self.path) as file:
            _, (place, raw) = next(self._rows(_Lines(file, self.path)), ((0, 1), ("", ())))
        if isinstance(raw, DatasetError):
            raise raw
        if not raw:
            raise DatasetError("the file is empty", "", "It needs a header", place=str(self.path))
        twice = sorted({name for name in raw if raw.count(name) > 1})
        if twice:
            raise DatasetError(f"two columns have one name: {', '.join(twice)}", place=place)
        return tuple(raw)

    def require(self, *columns: str | None) -> None:
        """Check that the header has these columns; None stands for none.

        Raises:
            DatasetError: it has not.
        """
        for column in columns:
            if column is not None and column not in self.header:
                there = f"It has the columns {_names(self.header)}"
                do = did_you_mean(column, self.header)
                raise DatasetError(f"no column {column!r}", there, do, place=f"{self.path}:1")

    def _raw(self, lines: _Lines) -> Iterator[tuple[Key, Placed]]:
        rows = self._rows(lines)
        if lines.key == (0, 1):
            self.header  # noqa: B018 - what is wrong with it is said before the first row is
            next(rows)
        return rows

    def _rows(self, lines: _Lines) -> Iterator[tuple[Key, Placed]]:
        # A map goes on after an error, as csv.reader does; a generator would not.
        reader = csv.reader(map(_utf8, lines), strict=True)
        while True:
            key = lines.key
            place = f"{self.path}:{key[1]}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as error:
                yield key, (place, DatasetError("the row is no CSV", str(error), place=place))
            else:
                if cells:
                    yield key, (place, cells)

    def decode(self, raw: Any, place: str) -> Any:
        if isinstance(raw, DatasetError):
            raise raw
        if len(raw) != len(self.header):
            there = f"It has {len(raw)} cells, the header has {len(self.header)}"
            raise DatasetError("the row does not fit its header", there, place=place)
        return dict(zip(self.header, raw, strict=True))


def text_lines(path: str | Path) -> TextLines:
    """(place, line without its end) for every line of a text file that is not blank.

    Raises:
        DatasetError: the file cannot be read, or a line is no UTF-8 text.
    """
    return TextLines(path, _as_it_is)


def json_lines(path: str | Path) -> TextLines:
    """(place, value) for every line of a JSONL file that is not blank.

    Raises:
        DatasetError: the file cannot be read, or a line is no JSON.
    """
    return TextLines(path, _json_line)


def csv_rows(path: str | Path) -> CsvRows:
    """(place, column -> text) for every row of a CSV file with a header.

    Raises:
        DatasetError: the file cannot be read or has no header, or a row does not fit it.
    """
    return CsvRows(path)


def json_document(path: str | Path) -> Any:
    """The value of a JSON file that fits into memory.

    Raises:
        DatasetError: the file is missing, no JSON, or longer than `LONGEST` characters.
    """
    with open_text(path) as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        asked = f"the file is longer than {LONGEST} characters"
        raise DatasetError(asked, "", "Split it", place=str(path))
    return parse_json(text, str(path))


def parse_json(text: str, place: str) -> Any:
    """The value of a JSON text.

    Raises:
        DatasetError: it is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        where = f"{place}:{line}" if line > 1 else place
        raise DatasetError("the text is no JSON", str(error), place=where) from error


def field(record: Any, name: str, kind: type | tuple[type, ...], place: str) -> Any:
    """`record[name]`, checked.

    Raises:
        DatasetError: record is no object, has no such field, or one of another type.
    """
    if not isinstance(record, dict):
        raise DatasetError(f"an object is expected, not {type(record).__name__}", place=place)
    if name not in record:
        there = f"It has {_names(record)}"
        do = did_you_mean(name, list(record)[:_SOME]) if record else ""
        raise DatasetError(f"field {name!r} is missing", there, do, place=place)
    value = record[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(each.__name__ for each in kinds)
        raise DatasetError(
            f"field {name!r} must be {wanted}, not {type(value).__name__}", place=place
        )
    return value


def identifier(record: Any, name: str, place: str) -> str:
    """`record[name]` as an id: text, or a whole number written as text.

    Raises:
        DatasetError: it is missing, of another type, or blank.
    """
    value = field(record, name, (str, int), place)
    if isinstance(value, bool) or not str(value).strip():
        raise DatasetError(f"field {name!r} must be an id, not {value!r}", place=place)
    return str(value)


def texts(value: Any, name: str, place: str) -> tuple[str, ...]:
    """The different texts of a list that are not blank, in order.

    Raises:
        DatasetError: it is no list of texts.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise DatasetError(f"field {name!r} must be a list of texts", place=place)
    return tuple(dict.fromkeys(each for each in value if each.strip()))


def question_text(record: Any, name: str, place: str) -> str:
    """`record[name]` as a question.

    Raises:
        Unusable: it is blank.
        DatasetError: it is missing or no text.
    """
    text: str = field(record, name, str, place)
    if not text.strip():
        raise Unusable("without a question")
    return text


def numbered(prefix: str, place: str) -> str:
    """An id made of the line or index that ends a place: "data.jsonl:12" gives "prefix-000012".

    Such ids stay as they are under another limit, offset or seed.
    """
    found = re.search(r"([0-9]+)\]?$", place)
    return f"{prefix}-{int(found[1]):06}" if found else f"{prefix}-{place}"


def head(path: str | Path) -> bytes:
    """The first bytes of a file, at most 4,096, without white space and byte order mark before
    them: enough to tell layouts apart.

    Raises:
        DatasetError: the file cannot be read.
    """
    with open_bytes(path) as file:
        return file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()


def _names(names: Collection[str]) -> str:
    some = ", ".join(map(repr, list(names)[:_SOME]))
    return f"{some or 'none'}{' and more' if len(names) > _SOME else ''}"


def _json_line(line: str, place: str) -> Any:
    try:
        return parse_json(line, place)
    except DatasetError as error:
        do = "A line must be a JSON value by itself"
        raise DatasetError("the line is no JSON", error.there, do, place=place) from error


def _as_it_is(line: str, place: str) -> str:
    return line


def _utf8(line: bytes) -> str:
    return line.decode("utf-8-sig")


def _text(line: bytes, place: str) -> str:
    try:
        return _utf8(line)
    except UnicodeDecodeError as error:
        there = f"Byte {error.object[error.start]:#04x} cannot be decoded"
        raise DatasetError("the line is no UTF-8 text", there, place=place) from error
