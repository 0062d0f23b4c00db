"""Contents: what a run's shards hold, in float32 whatever they are kept in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcm.errors import RunDirectoryError
from dcm.running.contents import is_content, sum_of
from dcm.running.fingerprints import of_tensor

if TYPE_CHECKING:
    from torch import Tensor

Kept = Literal["float32", "bfloat16", "float16", "int8"]
"""What a content is kept in. `int8` has a float32 scale for each slot."""

# Files that are held open; each costs a descriptor and its header.
_MOST_OPEN = 64


def pack(content: Tensor, kept: Kept) -> Tensor:
    """A content [..., K, D] float32 as it is kept.

    [..., K, D] of a floating dtype, or [..., K, D + 4] int8: D whole numbers, and behind them the
    four bytes of the slot's float32 scale, that of its largest number over 127. Rounding is to the
    nearest.
    """
    import torch

    if kept != "int8":
        return content.to(getattr(torch, kept))
    tiny = torch.finfo(torch.float32).tiny
    scale = (content.abs().amax(-1, keepdim=True) / 127).clamp(min=tiny)
    whole = (content / scale).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([whole, scale.view(torch.int8)], dim=-1)


def unpack(packed: Tensor) -> Tensor:
    """[..., K, D] float32 from what `pack` made."""
    import torch

    if packed.dtype != torch.int8:
        return packed.float()
    return packed[..., :-4].float() * packed[..., -4:].contiguous().view(torch.float32)


class Shards:
    """The shards of one run, opened as they are needed and mapped, not read.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._open: OrderedDict[str, Any] = OrderedDict()

    def packed(self, ref: Mapping[str, str]) -> Tensor:
        """A content as it is kept, see `pack`.

        Raises:
            RunDirectoryError: the shard cannot be read, or the content is not what was written.
        """
        found: Tensor = self._of(ref, lambda shard: shard.get_tensor(ref["key"]))
        if not is_content(found) or of_tensor(found) != ref["sha256"]:
            raise self._damaged(ref, "Its bytes are not those that were written")
        return found

    def slots(self, ref: Mapping[str, str]) -> int:
        """K of a content, without reading it."""
        shape: list[int] = self._of(ref, lambda shard: shard.get_slice(ref["key"]).get_shape())
        if len(shape) != 2:
            raise self._damaged(ref, f"It has the shape {shape}, which is no content's")
        return shape[0]

    def mode(self, ref: Mapping[str, str], mode: str) -> Tensor | None:
        """The mode vector [D] float32 kept beside a content; None where there is none.

        Raises:
            RunDirectoryError: it is not what was written.
        """
        shard = self._shard(ref["file"])
        name = f"mode/{mode}"
        if name not in shard.keys():  # noqa: SIM118
            return None
        found: Tensor = self._of({**ref, "key": name}, lambda shard: shard.get_tensor(name))
        if of_tensor(found) != (shard.metadata() or {}).get(sum_of(mode)):
            raise self._damaged({**ref, "key": name}, "Its bytes are not those that were written")
        return found

    def layout(self, ref: Mapping[str, str]) -> str:
        """Where the mode vector stands: `prefix` or `suffix`."""
        return str((self._shard(ref["file"]).metadata() or {}).get("layout", "prefix"))

    def _of(self, ref: Mapping[str, str], take: Callable[[Any], Any]) -> Any:
        """What is taken of a shard."""
        shard = self._shard(ref["file"])
        try:
            return take(shard)
        except Exception as error:  # the library raises its own kind
            raise self._damaged(ref, str(error)) from error

    def _damaged(self, ref: Mapping[str, str], why: str) -> RunDirectoryError:
        asked = f"{self._run / ref['file']} has no readable {ref['key']!r}"
        return RunDirectoryError(asked, why, "Restore it from a copy")

    def _shard(self, name: str) -> Any:
        from safetensors import safe_open

        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        try:
            shard = safe_open(self._run / name, framework="pt")
        except Exception as error:  # the library raises its own kind
            asked = f"{self._run / name} cannot be read"
            raise RunDirectoryError(asked, str(error), "Restore it from a copy") from error
        self._open[name] = shard
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return shard
