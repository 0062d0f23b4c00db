"""Data sets of several files in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dcm.errors import DatasetError
from dcm.records.choosing import Placed, Source


def files_in(path: str | Path, *endings: str) -> list[Path]:
    """The files of a folder whose names end so, by name; hidden ones, such as the `._NAME` that
    archives from a Mac hold beside each file, are left out. A file is one by itself.

    Args:
        path: a folder, or a file of whatever name.
        endings: such as ".csv"; each may be followed by ".gz" or ".xz".

    Raises:
        DatasetError: the folder has no such file.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return [folder]
    wanted = tuple(ending + packed for ending in endings for packed in ("", ".gz", ".xz"))
    found = sorted(
        each
        for each in folder.iterdir()
        if each.name.endswith(wanted) and not each.name.startswith(".") and each.is_file()
    )
    if not found:
        there = f"It has no {' or '.join(endings)} file"
        raise DatasetError(f"the folder {path} has nothing to read", there, "Check the path")
    return found


class Chained:
    """The records of several sources, one after the other; can be iterated again."""

    def __init__(self, sources: Sequence[Iterable[Placed]]) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[Placed]:
        for source in self._sources:
            if not isinstance(source, Source):
                yield from source
                continue
            for _, (place, raw) in source.raw():
                try:
                    record = source.decode(raw, place)
                except DatasetError as error:
                    record = error
                yield place, record
