"""Sending: tensors get to a device without anybody waiting for what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def send(host: Tensor, device: torch.device) -> Tensor:
    """A host tensor on a device.

    From memory that may be paged out a copy waits until a GPU has computed all that it was asked.
    """
    if device.type == "cuda":
        host = host.pin_memory()
    return host.to(device, non_blocking=True)
