"""Contents: shards of content vectors on disk, each with its checksum."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm.errors import RunDirectoryError
from dcm.running.disk import on_disk, write_bytes
from dcm.running.fingerprints import of_tensor

if TYPE_CHECKING:
    from torch import Tensor

ContentRef = Mapping[str, str]
"""Where a content is, and the SHA-256 of its bytes:
`{"file": "content/00000.safetensors", "key": "content/" + id, "sha256": ...}`."""

_NAME = re.compile(r"content/(\d{5,12})\.safetensors")


def is_ref(value: Any) -> bool:
    """Whether a JSON value says where a content is."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("file", "key", "sha256"))
        and _NAME.fullmatch(value["file"]) is not None
    )


class Contents:
    """The shards of a run directory.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next_shard = 0

    def reserve(self, named: Iterable[str], at_least: int = 0) -> None:
        """Never take a number that a shard has, or that `named`, files' names, speak of."""
        there = (f"content/{path.name}" for path in (self.folder / "content").glob("*"))
        found = (_NAME.match(name) for name in (*there, *named))
        taken = (int(match[1]) for match in found if match)
        self.next_shard = max(self.next_shard, at_least, max(taken, default=-1) + 1)

    def save(
        self, contents: Mapping[str, Tensor], modes: Mapping[str, Tensor], layout: str
    ) -> dict[str, ContentRef]:
        """Write a shard; where each content is.

        Args:
            contents: example id -> [K, D] float32, or as a memory keeps them in fewer bits.
            modes: mode -> [D] float32; every shard has the vectors it needs.
            layout: where the mode vector stands.

        Raises:
            DcmError: the disk refuses it.
        """
        from safetensors.torch import save

        name = f"content/{self.next_shard:05d}.safetensors"
        self.next_shard += 1
        tensors = {f"content/{key}": value.contiguous() for key, value in contents.items()}
        refs: dict[str, ContentRef] = {
            key: {"file": name, "key": f"content/{key}", "sha256": of_tensor(value)}
            for key, value in contents.items()
        }
        # A copy each: safetensors refuses tensors that share memory.
        tensors |= {f"mode/{key}": value.detach().cpu().clone() for key, value in modes.items()}
        # Not by `save_file`, which makes files that only their owner may read.
        sums = {sum_of(key): of_tensor(tensors[f"mode/{key}"]) for key in modes}
        data = save(tensors, metadata={"layout": layout, "format": "dcm-1", **sums})
        write_bytes(self.folder / name, data)
        return refs

    def load(self, refs: Sequence[ContentRef]) -> list[Tensor]:
        """Read contents [K, D] back from disk, as they were kept.

        Raises:
            RunDirectoryError: one is not what was written.
        """
        found, damaged = self._read(refs)
        if damaged:
            ref, why = next(iter(damaged.items()))
            asked = f"{self.folder / refs[ref]['file']}: {refs[ref]['key']!r} is damaged"
            raise RunDirectoryError(asked, why, "Go on with the run by --resume, which redoes it")
        return [found[place] for place in range(len(refs))]

    def damaged(self, refs: Sequence[ContentRef]) -> dict[int, str]:
        """Which of the contents are not what was written: place in `refs` -> why."""
        bad: dict[int, str] = {}
        by_file: dict[str, list[int]] = {}
        for place, ref in enumerate(refs):
            by_file.setdefault(ref["file"], []).append(place)
        for places in by_file.values():  # one shard at a time stays in memory
            _, damaged = self._read([refs[place] for place in places])
            bad |= {places[number]: why for number, why in damaged.items()}
        return bad

    def _read(self, refs: Sequence[ContentRef]) -> tuple[dict[int, Tensor], dict[int, str]]:
        """place -> content, and place -> why there is none."""
        from safetensors import SafetensorError, safe_open

        found: dict[int, Tensor] = {}
        damaged: dict[int, str] = {}
        by_file: dict[str, list[int]] = {}
        for place, ref in enumerate(refs):
            by_file.setdefault(ref["file"], []).append(place)
        for name, places in by_file.items():
            path = self.folder / name
            if not path.is_file():
                damaged |= dict.fromkeys(places, f"{name} is missing")
                continue
            try:
                with on_disk(path, "read"), safe_open(path, framework="pt") as shard:
                    keys = set(shard.keys())
                    spoilt = _spoilt_mode(shard, keys)
                    for place in places:
                        key = refs[place]["key"]
                        if key in keys:
                            found[place] = shard.get_tensor(key)
            except SafetensorError as error:
                why = f"{name} cannot be read ({str(error).partition(chr(10))[0]})"
                damaged |= dict.fromkeys(places, why)
                continue
            for place in places:
                if spoilt:
                    damaged[place] = f"The bytes of {spoilt!r} in {name} are not those written"
                elif place not in found:
                    damaged[place] = f"{name} does not hold it"
                elif not is_content(found[place]) or (
                    refs[place].get("sha256") != of_tensor(found[place])
                ):
                    damaged[place] = f"Its bytes in {name} are not those that were written"
        return found, damaged


def sum_of(mode: str) -> str:
    """Where a shard's metadata has the checksum of a mode's vector."""
    return f"sha256 mode/{mode}"


def _spoilt_mode(shard: Any, keys: set[str]) -> str:
    """The first mode vector of a shard that is not what was written; empty if there is none."""
    sums = shard.metadata() or {}
    modes = sorted(key for key in keys if key.startswith("mode/"))
    for key in modes:
        if sums.get(sum_of(key.removeprefix("mode/"))) != of_tensor(shard.get_tensor(key)):
            return key
    return ""


def is_content(tensor: Tensor) -> bool:
    """Whether a tensor may be a kept content [K, D]."""
    # In fewer bits where a memory was converted.
    kept = ("float32", "bfloat16", "float16", "int8")
    return tensor.ndim == 2 and str(tensor.dtype).removeprefix("torch.") in kept
