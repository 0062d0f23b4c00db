"""RunItems: the items of one run, found by id or by place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from dcm.errors import RunDirectoryError
from dcm.memory.contents import Shards
from dcm.memory.segment import FOLDER, Segment, key, parse, segments
from dcm.running.disk import on_disk, open_file, write_json
from dcm.running.run_directory import RESULTS

REMOVED = f"{FOLDER}/removed.json"


class RunItems:
    """One run's items: found by id or by place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards = Shards(path)
        self.segments: list[Segment] = segments(path)
        self.removed = _removed(path)

    @cached_property
    def keys(self) -> Any:
        import numpy as np

        return np.concatenate([np.empty(0, np.uint64), *(each.keys for each in self.segments)])

    @cached_property
    def offsets(self) -> Any:
        import numpy as np

        return np.concatenate([np.empty(0, np.int64), *(each.offsets for each in self.segments)])

    @cached_property
    def order(self) -> Any:
        import numpy as np

        return np.argsort(self.keys, kind="stable")

    @cached_property
    def present(self) -> Any:
        """[count] bool: which have not been removed."""
        import numpy as np

        gone = np.array([key(each) for each in self.removed], np.uint64)
        return ~np.isin(self.keys, gone)

    @property
    def count(self) -> int:
        """How many items there ever were."""
        return len(self.keys)

    def __len__(self) -> int:
        return int(self.present.sum())

    @cached_property
    def _results(self) -> mmap:
        with (self.path / RESULTS).open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)

    def line(self, place: int) -> dict[str, Any]:
        """The line of the item at a place."""
        offset = int(self.offsets[place])
        self._results.seek(offset)
        found = parse(self._results.readline(), self.path, offset)
        if found["content"] is None or key(found["id"]) != int(self.keys[place]):
            asked = f"{self.path / RESULTS} is not the file that its index is of"
            there = f"{found['id']!r} stands where another item stood"
            raise RunDirectoryError(asked, there, f"Remove {self.path / FOLDER}/*.safetensors")
        return found

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines of all items that are there."""
        for place, present in enumerate(self.present):
            if present:
                yield self.line(place)

    def find(self, example_id: str) -> dict[str, Any] | None:
        """The line of an item that is there."""
        import numpy as np

        wanted = np.uint64(key(example_id))
        at = int(np.searchsorted(self.keys, wanted, sorter=self.order))
        while at < self.count and self.keys[self.order[at]] == wanted:
            place = int(self.order[at])
            line = self.line(place) if self.present[place] else None
            if line is not None and line["id"] == example_id:
                return line
            at += 1
        return None

    def remove(self, example_id: str) -> None:
        if self.find(example_id) is not None:
            self.removed.append(example_id)
            self.__dict__.pop("present", None)

    def write_removed(self) -> None:
        if self.removed:
            path = self.path / REMOVED
            path.parent.mkdir(exist_ok=True)
            write_json(path, self.removed)


def _removed(path: Path) -> list[str]:
    if not (path / REMOVED).exists():
        return []
    with on_disk(path / REMOVED, "read"), open_file(path / REMOVED) as file:
        data = file.read()
    asked, do = f"{path / REMOVED} cannot be read", "It is a list of ids: restore it"
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(asked, str(error), do) from error
    if not (isinstance(found, list) and all(isinstance(each, str) for each in found)):
        raise RunDirectoryError(asked, "It is no list of texts", do)
    return found
