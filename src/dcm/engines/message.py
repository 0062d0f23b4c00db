"""Messages between a run and its workers: a JSON value and tensors, as a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def pack(value: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> bytes:
    """A message: a JSON object, and named tensors on the CPU."""
    from safetensors.torch import save

    whole = {key: each.contiguous() for key, each in (tensors or {}).items()}
    message: bytes = save(whole, metadata={"json": json.dumps(value)})
    return message


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `pack` was given."""
    from safetensors.torch import load

    size = int.from_bytes(message[:8], "little")
    header = json.loads(message[8 : 8 + size])
    return json.loads(header["__metadata__"]["json"]), load(message)
