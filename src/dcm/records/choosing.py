"""Parsing records into examples, and choosing among them."""

from __future__ import annotations

import random
import sys
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NoReturn

import attrs

from dcm.errors import DatasetError
from dcm.example import Example

OnError = Literal["stop", "skip"]
"""What to do with a malformed record: stop with a DatasetError, or count it and go on."""

Placed = tuple[str, Any]
"""A record and its place: "file:line" or "file: JSON path". A record that is a DatasetError
stands for one that is malformed."""

Parse = Callable[[Any, str], Example]
"""Makes an example of a record and its place."""

Key = tuple[int, int]
"""Where a record is found again: byte offset and line."""


class Unusable(Exception):  # noqa: N818 - not an error: the record is well-formed
    """A well-formed record that makes no example (no answer, empty text); says the reason."""


class Source(ABC):
    """Records of a file that can be iterated again, and taken one by one."""

    @abstractmethod
    def raw(self) -> Iterator[tuple[Key, Placed]]:
        """The key, place and undecoded form of every record."""

    @abstractmethod
    def at(self, key: Key) -> Placed:
        """The place and undecoded form of one record. Slow where the file is compressed."""

    @abstractmethod
    def decode(self, raw: Any, place: str) -> Any:
        """The record.

        Raises:
            DatasetError: it is malformed.
        """

    @property
    @abstractmethod
    def seekable(self) -> bool:
        """Whether `at` is fast."""

    def __iter__(self) -> Iterator[Placed]:
        for _, (place, raw) in self.raw():
            yield place, self.decode(raw, place)


@attrs.frozen
class Collected:
    """Chosen examples, and how many records were left out before the last one, by reason; and what
    a reader should know of how they were read."""

    examples: Sequence[Example]
    skipped: dict[str, int]
    remarks: tuple[str, ...] = ()


def collect(
    records: Iterable[Placed],
    parse: Parse,
    *,
    offset: int = 0,
    limit: int | None = None,
    seed: int | None = None,
    on_error: OnError = "stop",
    repeats: bool = False,
) -> Collected:
    """Parse records into examples and choose among them.

    With a limit, the chosen examples are held in memory and no others; with a seed,
    records that can be iterated again are read twice for that.
    Without a limit all are held, but of an uncompressed file of lines or rows (a `Source`) only
    their places: an example is parsed again whenever it is asked for.

    Args:
        records: (place, record) pairs, read as far as needed.
        parse: makes an example of a record and its place; raises `Unusable` for a record to leave
            out, `DatasetError` or `ValueError` for a malformed one.
        offset: how many usable examples to pass over.
        limit: how many to take at most; None for all.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
        on_error: "skip" counts malformed records as left out, "stop" raises.
        repeats: the source has some pairs more than once: what has the id, question and answer of
            an earlier record is left out and counted as "repeated".

    Raises:
        DatasetError: a malformed record, no usable record, or two records with one id, which
            "skip" does not pass over: results are told apart by their ids.
    """
    scan = _Scan(records, parse, on_error, repeats)
    if seed is None and limit is not None:
        taken = tuple(islice(_distinct(scan.usable()), offset, min(offset + limit, sys.maxsize)))
        return _collected(taken, scan)
    lazy = isinstance(records, Source) and records.seekable
    again = lazy or (limit is not None and iter(records) is not records)
    held: list[Example] = []
    offsets, lines, hashes = array("Q"), array("Q"), array("q")
    if again:
        for key, _, example in scan.usable():
            offsets.append(key[0])
            lines.append(key[1])
            hashes.append(hash(example.id))
        _refuse_twins(hashes, scan)
    else:
        held.extend(_distinct(scan.usable()))
    order = array("Q", range(scan.found))
    if seed is not None:
        random.Random(seed).shuffle(order)  # noqa: S311 - not for cryptography
    order = order[offset:] if limit is None else order[offset : offset + limit]
    chosen: Sequence[Example]
    if lazy:
        assert isinstance(records, Source)  # noqa: S101 - for the type checker
        keys = (array("Q", (column[i] for i in order)) for column in (offsets, lines))
        chosen = _Parsed(records, parse, *keys)
        chosen = chosen if limit is None else tuple(chosen)
    else:
        chosen = _second_reading(scan, order) if again else tuple(held[i] for i in order)
    return _collected(chosen, scan)


class _Scan:
    """Reads records and parses them, counting those left out."""

    def __init__(
        self, records: Iterable[Placed], parse: Parse, on_error: OnError, repeats: bool
    ) -> None:
        self._records, self._parse, self._on_error = records, parse, on_error
        self._repeats = repeats
        self.skipped: Counter[str] = Counter()
        self.found = 0

    def usable(self) -> Iterator[tuple[Key, str, Example]]:
        """Key, place and example of every usable record."""
        self.skipped, self.found = Counter(), 0
        pairs: dict[int, int] = {}  # of hashes: there may be more than memory holds texts
        for key, (place, record) in self._keyed():
            try:
                example = _parsed(self._records, self._parse, record, place)
            except Unusable as reason:
                self.skipped[str(reason)] += 1
            except DatasetError:
                if self._on_error == "stop":
                    raise
                self.skipped["malformed"] += 1
            else:
                if self._repeats:
                    pair = hash((example.question, example.answer))
                    if pairs.get(hash(example.id)) == pair:
                        self.skipped["repeated"] += 1
                        continue
                    pairs[hash(example.id)] = pair
                self.found += 1
                yield key, place, example

    def _keyed(self) -> Iterator[tuple[Key, Placed]]:
        if isinstance(self._records, Source):
            return self._records.raw()
        return (((0, 0), placed) for placed in self._records)


class _Parsed(Sequence[Example]):
    """Examples that are parsed when they are asked for."""

    def __init__(
        self, source: Source, parse: Parse, offsets: Sequence[int], lines: Sequence[int]
    ) -> None:
        self._source, self._parse, self._offsets, self._lines = source, parse, offsets, lines

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place, raw = self._source.at((self._offsets[index], self._lines[index]))
        try:
            return _parsed(self._source, self._parse, raw, place)
        except Unusable as reason:
            raise DatasetError("the file has changed", str(reason), place=place) from reason


def _parsed(records: Iterable[Placed], parse: Parse, record: Any, place: str) -> Example:
    try:
        if isinstance(record, DatasetError):
            raise record
        if isinstance(records, Source):
            record = records.decode(record, place)
        example = parse(record, place)
        texts = (example.id, example.question, example.answer, *example.aliases)
        for text in texts:
            text.encode()  # half a surrogate pair, which JSON can write, is no text
        (example.context or "").encode()
    except ValueError as error:
        raise DatasetError("the record is malformed", str(error), place=place) from error
    return example


def _distinct(usable: Iterable[tuple[Key, str, Example]]) -> Iterator[Example]:
    seen: dict[str, str] = {}
    for _, place, example in usable:
        if example.id in seen:
            _refuse_twin(example.id, seen[example.id], place)
        seen[example.id] = place
        yield example


def _refuse_twins(hashes: array[int], scan: _Scan) -> None:
    """Refuse two examples with one id, of which there may be more than memory holds texts."""
    import numpy as np

    values, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if suspects:
        seen: dict[str, str] = {}
        for _, place, example in scan.usable():
            if hash(example.id) in suspects:
                if example.id in seen:
                    _refuse_twin(example.id, seen[example.id], place)
                seen[example.id] = place


def _refuse_twin(id: str, first: str, second: str) -> NoReturn:
    there = f"It is that of {first} too"
    raise DatasetError(f"id {id!r} occurs twice", there, "Make ids differ", place=second)


def _second_reading(scan: _Scan, order: Sequence[int]) -> Sequence[Example]:
    """The usable examples of these numbers, in this order."""
    position = {number: place for place, number in enumerate(order)}
    found: dict[int, Example] = {}
    counted = scan.skipped
    for number, (_, _, example) in enumerate(scan.usable()):
        if number in position:
            found[position[number]] = example
            if len(found) == len(position):
                break
    scan.skipped = counted
    if len(found) < len(position):
        raise DatasetError("the source has changed while it was read", "", "Read it again")
    return tuple(found[place] for place in range(len(found)))


def _collected(examples: Sequence[Example], scan: _Scan) -> Collected:
    if not examples:
        left = ", ".join(f"{count} {reason}" for reason, count in scan.skipped.items())
        there = f"{scan.found} usable records were found, left out: {left or 'none'}"
        raise DatasetError("the set is empty", there, "Check path, limit and offset")
    return Collected(examples, dict(scan.skipped))
