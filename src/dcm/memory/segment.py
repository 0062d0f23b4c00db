"""Segment: one stretch of a run's results.jsonl, so that an item is found without reading it.

What is kept beside a run, in its folder `memory/`, can be made again from results.jsonl at any
time: a segment that does not fit the file is left aside and another is made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import RunDirectoryError
from dcm.memory.trigrams import Trigrams
from dcm.running.run_directory import RESULTS

if TYPE_CHECKING:
    from dcm.memory.trigrams import Numbers

FOLDER = "memory"

# A run that grows by many small additions has as many segments; beyond this they become one.
_MOST = 16


@attrs.frozen(eq=False)
class Segment:
    """The items of one stretch of results.jsonl.

    Attributes:
        path: its file, or None where it could not be kept.
        end: where the stretch ends, in bytes.
        offsets: [N] int64, where each item's line begins.
        keys: [N] uint64, `key` of each item's id.
    """

    path: Path | None
    end: int
    offsets: Numbers
    keys: Numbers
    _made: Trigrams | None = None

    @cached_property
    def trigrams(self) -> Trigrams:
        """The index of the items' questions."""
        if self._made is not None:
            return self._made
        from safetensors.numpy import load_file

        assert self.path is not None  # noqa: S101 - what is not on disk was made
        tensors = load_file(self.path)
        return Trigrams(**{field.name: tensors[field.name] for field in attrs.fields(Trigrams)})


def key(example_id: str) -> int:
    """A number of 64 bits that stands for an id."""
    return int.from_bytes(blake2b(example_id.encode(), digest_size=8).digest(), "little")


def segments(run: Path) -> list[Segment]:
    """The segments that cover a run's results.jsonl; what is missing is made and kept.

    Raises:
        RunDirectoryError: results.jsonl is missing, or holds a line that is none.
    """
    results = run / RESULTS
    if not results.is_file():
        do = "Name the folder of a run that has begun"
        raise RunDirectoryError(f"{run} holds no memory", f"It has no {RESULTS}", do)
    found = list(_kept(run))
    begin = found[-1].end if found else 0
    if _whole(results) > begin:
        if len(found) >= _MOST:
            begin, found = 0, []
        found.append(_make(run, begin, len(found)))
    return found


def _kept(run: Path) -> Iterator[Segment]:
    """Segments on disk, from the first byte on, as far as they fit the file."""
    from safetensors import safe_open

    begin = 0
    for path in sorted((run / FOLDER).glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                if int(about["begin"]) != begin or about["check"] != _check(run, int(about["end"])):
                    return
                begin = int(about["end"])
                yield Segment(path, begin, file.get_tensor("offsets"), file.get_tensor("keys"))
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it can be made again
            return


def _make(run: Path, begin: int, number: int) -> Segment:
    """Read results.jsonl from `begin` on, and keep what was found if the folder can be written."""
    import numpy as np

    offsets, keys, questions, end = [], [], [], begin
    with (run / RESULTS).open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                break  # it is still being written
            result = parse(line, run, end)
            if result["content"] is not None:
                offsets.append(end)
                keys.append(key(result["id"]))
                questions.append(result["question"])
            end += len(line)
    trigrams = Trigrams.of(questions)
    tensors = {"offsets": np.array(offsets, np.int64), "keys": np.array(keys, np.uint64)}
    path = run / FOLDER / f"{number:05d}.safetensors"
    about = {"begin": str(begin), "end": str(end), "check": _check(run, end)}
    kept = _keep(path, {**tensors, **attrs.asdict(trigrams)}, about)
    return Segment(path if kept else None, end, **tensors, made=trigrams)


def parse(line: bytes, run: Path, offset: int) -> dict[str, Any]:
    """A line of results.jsonl.

    Raises:
        RunDirectoryError: it is no result.
    """
    try:
        result: dict[str, Any] = json.loads(line)
        result["id"], result["content"], result["question"]
    except (ValueError, KeyError, TypeError) as error:
        asked = f"{run / RESULTS}: the line at byte {offset} is no result"
        raise RunDirectoryError(asked, str(error), "Restore the file from a copy") from error
    return result


def _keep(path: Path, tensors: dict[str, Any], about: dict[str, str]) -> bool:
    """Write a segment as a whole, where the folder can be written."""
    from safetensors.numpy import save

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        temporary.write_bytes(save(tensors, metadata=about))
        temporary.replace(path)
        for later in path.parent.glob("*.safetensors"):
            if later.name > path.name:
                later.unlink()  # of a results.jsonl that is no longer there
    except OSError:
        return False
    return True


def _whole(results: Path) -> int:
    """Where the last whole line ends."""
    size = results.stat().st_size
    with results.open("rb") as file:
        while size:
            step = min(size, 1 << 16)
            file.seek(size - step)
            place = file.read(step).rfind(b"\n")
            if place >= 0:
                return size - step + place + 1
            size -= step
    return 0


def _check(run: Path, end: int) -> str:
    """What tells whether results.jsonl up to `end` is the file that was read: its last bytes."""
    with (run / RESULTS).open("rb") as file:
        file.seek(max(0, end - 4096))
        return blake2b(file.read(min(end, 4096)), digest_size=16).hexdigest()
