"""Files whose records follow each other line by line."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from dcm.errors import DatasetError
from dcm.records.choosing import Key, Placed, Source
from dcm.records.files import LONGEST, is_compressed, open_bytes
from dcm.records.reading import parse_json


class FileSource(Source):
    """Records that are one after the other in a file, each from its own line on."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    @property
    def seekable(self) -> bool:
        return not is_compressed(self.path)

    def raw(self) -> Iterator[tuple[Key, Placed]]:
        with open_bytes(self.path) as file:
            yield from self._raw(Lines(file, self.path))

    def at(self, key: Key) -> Placed:
        with open_bytes(self.path) as file:
            file.seek(key[0])
            for _, placed in self._raw(Lines(file, self.path, *key)):
                return placed
        raise DatasetError("the file has changed while it was read", place=f"{self.path}:{key[1]}")

    @abstractmethod
    def _raw(self, lines: Lines) -> Iterator[tuple[Key, Placed]]:
        """Key, place and undecoded form of the records in these lines."""


class Lines(Iterator[Any]):
    """Lines of a file of bytes, or of text; `key` is where the next one begins."""

    def __init__(self, file: IO[Any], path: str | Path, offset: int = 0, line: int = 1) -> None:
        self._file, self._path = file, path
        self.key = (offset, line)

    def __next__(self) -> Any:
        try:
            line = self._file.readline(LONGEST)
        except UnicodeDecodeError as error:  # of text, which cannot be read on after it
            there = f"Byte {error.object[error.start]:#04x} cannot be decoded"
            place = f"{self._path}:{self.key[1]}"
            asked = f"the line is no {error.encoding} text"
            raise DatasetError(asked, there, "Give the file's encoding", place=place) from error
        if not line:
            raise StopIteration
        offset, number = self.key
        if len(line) == LONGEST:
            asked = f"the line is longer than {LONGEST} bytes"
            raise DatasetError(asked, "", "Check the layout", place=f"{self._path}:{number}")
        self.key = (offset + len(line), number + 1)
        return line


class TextLines(FileSource):
    """The lines of a text file that are not blank, decoded by `decoder(line, place)`."""

    def __init__(self, path: str | Path, decoder: Callable[[str, str], Any]) -> None:
        super().__init__(path)
        self._decoder = decoder

    def _raw(self, lines: Lines) -> Iterator[tuple[Key, Placed]]:
        key = lines.key
        for line in lines:
            if line.strip():
                yield key, (f"{self.path}:{key[1]}", line)
            key = lines.key

    def decode(self, raw: Any, place: str) -> Any:
        return self._decoder(_text(raw, place).rstrip("\r\n"), place)


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


def _json_line(line: str, place: str) -> Any:
    try:
        return parse_json(line, place)
    except DatasetError as error:
        do = "A line must be a JSON value by itself"
        raise DatasetError("the line is no JSON", error.there, do, place=place) from error


def _as_it_is(line: str, place: str) -> str:
    return line


def _text(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        there = f"Byte {error.object[error.start]:#04x} cannot be decoded"
        raise DatasetError("the line is no UTF-8 text", there, place=place) from error
