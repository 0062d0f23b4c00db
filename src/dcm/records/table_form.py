"""TableForm: how the text of a table is written, found by looking at its beginning."""

from __future__ import annotations

import codecs
import csv
import io
import re
from itertools import islice
from pathlib import Path

import attrs

from dcm.errors import DatasetError
from dcm.records.files import open_bytes

_LOOKED_AT = 1 << 20  # bytes
_ROWS = 200
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
"""The first line in which a spreadsheet program is told what separates columns."""
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are archives; .xls
_MARKS = {  # the longer ones first: that of UTF-32 begins as that of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@attrs.frozen
class TableForm:
    """How the text of a table is written.

    Attributes:
        delimiter: what stands between two cells.
        encoding: Python's name of the encoding.
        by_line: whether its lines end by a line feed of one byte, so that one can be found again
            by its place in the file.
    """

    delimiter: str
    encoding: str
    by_line: bool

    @property
    def remark(self) -> str:
        """What is unlike a plain CSV file; empty where nothing is."""
        found = []
        if self.encoding != "utf-8":
            found.append(f"encoding {self.encoding}")
        if self.delimiter != ",":
            between = _DELIMITERS.get(self.delimiter, repr(self.delimiter))
            found.append(f"{between} between columns")
        return ", ".join(found)


def find_form(
    path: str | Path, delimiter: str | None = None, encoding: str | None = None
) -> TableForm:
    """How a table is written, by its first mebibyte; what is given is taken as it is.

    The encoding is that of its byte order mark, else UTF-8 if the bytes are that, else cp1252,
    which spreadsheets of Western Europe write. The delimiter is what a first line `sep=;` says,
    else the one, of comma, semicolon, tab and bar, that splits the header and by which most rows
    have as many cells as it.

    Raises:
        DatasetError: the file cannot be read, is a workbook, or its encoding cannot be told.
    """
    with open_bytes(path) as file:
        start = file.read(_LOOKED_AT)
    if start.startswith(_WORKBOOKS):
        there = "A spreadsheet program wrote it in a format of its own"
        do = "Save it as CSV there ('CSV UTF-8' where it is offered)"
        raise DatasetError("the file is a workbook, no table of text", there, do, place=str(path))
    encoding = encoding or _encoding(start, path)
    try:
        # The cut may go through a character.
        text = codecs.getincrementaldecoder(encoding)("replace").decode(start).lstrip("\ufeff")
        first_end = re.search("\r\n?|\n", text)
        by_line = "a\n".encode(encoding) == b"a\n" and not (first_end and first_end[0] == "\r")
    except LookupError as error:
        do = "Use a name that Python knows, such as utf-8, utf-16 or cp1252"
        raise DatasetError(f"there is no encoding {encoding!r}", "", do) from error
    told = SEPARATOR_LINE.fullmatch(text[: first_end.start()]) if first_end else None
    delimiter = delimiter or (told[1] if told else _delimiter(text, len(start) == _LOOKED_AT))
    return TableForm(delimiter, encoding, by_line)


def _encoding(start: bytes, path: str | Path) -> str:
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if start.count(0) > len(start) / 4:  # every other byte, of Western text
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(start)
    except UnicodeDecodeError:
        beyond = sum(byte > 127 for byte in start)
        valid = start.decode("utf-8", "ignore")
        if 2 * sum(len(each.encode()) for each in valid if each > "\x7f") >= beyond:
            return "utf-8"  # a few bytes of it are damaged
    else:
        return "utf-8"
    try:
        start.decode("cp1252")
    except UnicodeDecodeError as error:
        there = f"Byte {error.object[error.start]:#04x} is neither UTF-8 nor cp1252"
        do = "Give it by the field encoding, such as encoding=cp1250 or encoding=mac_roman"
        asked = "the encoding of the file cannot be told"
        raise DatasetError(asked, there, do, place=str(path)) from error
    return "cp1252"


def _delimiter(text: str, cut: bool) -> str:
    best, found = (0.0, 0), ","
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            rows = [row for row in islice(reader, _ROWS) if row]
        except csv.Error:
            continue
        if cut and 1 < len(rows) < _ROWS:
            rows.pop()
        if not rows or len(rows[0]) < 2:
            continue
        columns = len(rows[0])
        score = (sum(len(row) == columns for row in rows) / len(rows), columns)
        if score > best:
            best, found = score, delimiter
    return found
