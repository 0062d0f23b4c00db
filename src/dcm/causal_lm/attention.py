"""Attention kernels that are ready for every shape."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_READY = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def ready_attention(device: torch.device) -> AbstractContextManager[object]:
    """Within it torch's attention takes no kernel that is planned anew for each shape.

    cuDNN's are, and nearly every step has another shape: rows leave, and a decoded text grows. That
    made steps of the bundled model in bfloat16 three times as slow on an H100.
    """
    return sdpa_kernel(_READY) if device.type == "cuda" else nullcontext()
