"""Segment: one stretch of a run's results.jsonl, so that an item is found without reading it.

What is kept beside a run, in its folder `memory/`, can be made again from results.jsonl at any
time: a segment that does not fit the file is left aside and another is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import RunDirectoryError
from dcm.memory.trigrams import Trigrams
from dcm.running.disk import on_disk
from dcm.running.result_lines import parse_line
from dcm.running.run_directory import RESULTS

if TYPE_CHECKING:
    from dcm.memory.trigrams import Numbers

FOLDER = "memory"

# A run that grows by many small additions has as many segments; beyond this they become one.
_MOST = 16

_TRIGRAMS = [field.name for field in attrs.fields(Trigrams)]
_ITEMS_SUM, _SUM = "items_sum", "trigrams_sum"  # in a file's metadata


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
        from safetensors import safe_open

        assert self.path is not None  # noqa: S101 - what is not on disk was made
        try:
            with safe_open(self.path, framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in _TRIGRAMS}
                sound = (file.metadata() or {}).get(_SUM) == _sum(tensors)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it can be made again
            sound = False
        return Trigrams(**tensors) if sound else Trigrams.of(list(self._questions()))

    def _questions(self) -> Iterator[str]:
        """The items' questions, read from results.jsonl again."""
        assert self.path is not None  # noqa: S101
        run = self.path.parent.parent
        with on_disk(run / RESULTS, "read"), (run / RESULTS).open("rb") as file:
            for offset in map(int, self.offsets):
                file.seek(offset)
                yield parse(file.readline(), run, offset)["question"]


def key(example_id: str) -> int:
    """A number of 64 bits that stands for an id."""
    text = example_id.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


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
                items = {name: file.get_tensor(name) for name in ("offsets", "keys")}
                if about[_ITEMS_SUM] != _sum(items):
                    return
                yield Segment(path, begin, **items)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it can be made again
            return


def _make(run: Path, begin: int, number: int) -> Segment:
    """Read results.jsonl from `begin` on, and keep what was found if the folder can be written."""
    import numpy as np

    offsets, keys, questions, end = [], [], [], begin
    with on_disk(run / RESULTS, "read"), (run / RESULTS).open("rb") as file:
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
    index = attrs.asdict(trigrams)
    sums = {_ITEMS_SUM: _sum(tensors), _SUM: _sum(index)}
    kept = _keep(path, {**tensors, **index}, {**about, **sums})
    return Segment(path if kept else None, end, **tensors, made=trigrams)


def parse(line: bytes, run: Path, offset: int) -> dict[str, Any]:
    """A line of results.jsonl.

    Raises:
        RunDirectoryError: it is no result.
    """
    result, problem = parse_line(line)
    if result is None:
        with (run / RESULTS).open("rb") as file:
            number = file.read(offset).count(b"\n") + 1
        asked = f"{run / RESULTS}:{number}: the line is no result"
        do = "Restore the file from a copy, or have the run mended by --resume"
        raise RunDirectoryError(asked, f"{problem[0].upper()}{problem[1:]}", do)
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


def _sum(tensors: Mapping[str, Numbers]) -> str:
    """What tells whether arrays are those that were written."""
    found = blake2b(digest_size=16)
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        found.update(tensors[name].tobytes())
    return found.hexdigest()


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
