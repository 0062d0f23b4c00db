"""Reading the items of a list in a JSON document one by one, however large the document is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dcm.errors import DatasetError, did_you_mean
from dcm.records.choosing import Placed
from dcm.records.files import LONGEST, open_text

_CHUNK = 1 << 16
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonItems:
    """The items of one list of a JSON document: that of a member, or the document itself.

    Iterating gives (place, item), the place being "file: member[index]". It can be done more than
    once; each time the file is read anew, and as far as items are asked for. One item is held at
    a time, and one value beside the list.

    Args:
        path: the document.
        member: the name of the top-level object's member that is the list; None if the document
            itself is the list.

    Raises:
        DatasetError: the document cannot be read, is no JSON, or has no such list.
    """

    def __init__(self, path: str | Path, member: str | None = None) -> None:
        self.path, self.member = path, member

    def __iter__(self) -> Iterator[Placed]:
        with open_text(self.path) as file:
            scanner = _Scanner(file, str(self.path))
            if self.member is None:
                if scanner.peek() != "[":
                    do = "Where an object holds the list, name it by the field member"
                    raise self._missing("The document is no list", do)
                yield from self._items(scanner)
            else:
                yield from self._members(scanner)
            if scanner.peek():
                raise scanner.error("something follows the end of the document")

    def _members(self, scanner: _Scanner) -> Iterator[Placed]:
        if scanner.peek() != "{":
            raise self._missing("The document is no object")
        names: list[str] = []
        for _ in scanner.separated("{", "}"):
            name = scanner.value()
            if not isinstance(name, str):
                raise scanner.error("the name of a member is expected")
            scanner.expect(":")
            if name == self.member and scanner.peek() == "[":
                yield from self._items(scanner)
            else:
                scanner.value()
            names.append(name)
        if self.member not in names:
            some = ", ".join(map(repr, names[:9]))
            do = did_you_mean(str(self.member), names) if names else ""
            raise self._missing(f"It has the members {some}" if names else "It is empty", do)

    def _items(self, scanner: _Scanner) -> Iterator[Placed]:
        for index in scanner.separated("[", "]"):
            yield f"{self.path}: {self.member or ''}[{index}]", scanner.value()

    def _missing(self, there: str, do: str = "") -> DatasetError:
        of = f"a list {self.member!r} in an object" if self.member else "a list"
        return DatasetError(f"the document must hold {of}", there, do, place=str(self.path))


class _Scanner:
    """Takes JSON values from a text, of which it holds no more than the value at hand."""

    def __init__(self, file: IO[str], path: str) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._ended = "", 0, False
        self._line = 1
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more()

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise self.error(f"{character!r} is expected")
        self._at += 1

    def separated(self, first: str, last: str) -> Iterator[int]:
        """Counts what stands between brackets, separated by commas; the caller takes it."""
        self.expect(first)
        count = 0
        while self.peek() != last:
            if count:
                self.expect(",")
            self.peek()
            yield count
            count += 1
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # What stands well before the end of the text at hand is no matter of reading on.
                unfinished = error.msg.startswith("Unterminated")
                if self._ended or (error.pos < len(self._text) - 16 and not unfinished):
                    raise self.error(error.msg, error.pos) from None
            except (RecursionError, ValueError) as error:
                raise self.error(str(error)) from error
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._at = end
                    return value
            self._more()

    def error(self, reason: str, at: int | None = None) -> DatasetError:
        if self._ended and (at is None or at >= len(self._text)) and not self.peek():
            reason = f"it ends too early ({reason})"
        line = self._line + self._text.count("\n", 0, self._at if at is None else at)
        return DatasetError("the text is no JSON", reason, place=f"{self._path}:{line}")

    def _more(self) -> None:
        """Read on, twice as much if nothing could be taken from what was read before."""
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :], 0
        if len(self._text) > LONGEST:
            raise self.error(f"a value is longer than {LONGEST} characters")
        chunk = self._file.read(max(_CHUNK, len(self._text)))
        self._text += chunk
        self._ended = not chunk
