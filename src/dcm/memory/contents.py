"""Contents: what a run's shards hold, in float32 whatever they are kept in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcm.errors import RunDirectoryError

if TYPE_CHECKING:
    from torch import Tensor

Kept = Literal["float32", "bfloat16", "float16", "int8"]
"""What a content is kept in. `int8` has a float32 scale for each slot beside it."""

# Files that are held open; each costs a descriptor and its header.
_MOST_OPEN = 64


def pack(content: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
    """A content [..., K, D] float32 as it is kept, and the scales [..., K] float32 of `int8`.

    Rounding to the nearest, symmetric, a scale for each slot: its largest number is +-127.
    """
    import torch

    if kept != "int8":
        return content.to(getattr(torch, kept)), None
    scale = content.abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny * 127) / 127
    return (content / scale.unsqueeze(-1)).round().clamp(-127, 127).to(torch.int8), scale


def unpack(packed: Tensor, scale: Tensor | None) -> Tensor:
    """[..., K, D] float32 from what `pack` made."""
    whole = packed.float()
    return whole if scale is None else whole * scale.unsqueeze(-1)


class Shards:
    """The shards of one run, opened as they are needed and mapped, not read.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._open: OrderedDict[str, Any] = OrderedDict()

    def packed(self, ref: Mapping[str, str]) -> tuple[Tensor, Tensor | None]:
        """A content [K, D] as it is kept, and its scales if it has any.

        Raises:
            RunDirectoryError: the shard cannot be read, or has no such content.
        """
        shard, name = self._shard(ref["file"]), ref["key"]
        scale = "scale/" + name.removeprefix("content/")
        try:
            tensor = shard.get_tensor(name)
            return tensor, shard.get_tensor(scale) if str(tensor.dtype) == "torch.int8" else None
        except Exception as error:  # the library raises its own kind
            asked = f"{self._run / ref['file']} has no readable content {name!r}"
            raise RunDirectoryError(asked, str(error), "Restore it from a copy") from error

    def slots(self, ref: Mapping[str, str]) -> int:
        """K of a content, without reading it."""
        shape: list[int] = self._shard(ref["file"]).get_slice(ref["key"]).get_shape()
        return shape[0]

    def mode(self, ref: Mapping[str, str], mode: str) -> Tensor | None:
        """The mode vector [D] float32 kept beside a content; None where there is none."""
        shard = self._shard(ref["file"])
        name = f"mode/{mode}"
        return shard.get_tensor(name) if name in shard.keys() else None  # noqa: SIM118

    def layout(self, ref: Mapping[str, str]) -> str:
        """Where the mode vector stands: `prefix` or `suffix`."""
        return str((self._shard(ref["file"]).metadata() or {}).get("layout", "prefix"))

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
