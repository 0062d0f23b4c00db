"""The kernel that makes blocks of 4 bits dense, in Triton; see `dcm.causal_lm.four_bits`.

It reads half a byte for each number and writes the number, and needs no memory beside these.
Imported only where there are a GPU and Triton, which comes with torch's builds for Linux.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_NUMBERS = 2048  # of a program


@triton.jit
def _dense(blocks, scales, dense, total, INT4: tl.constexpr, NUMBERS: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    inside = place < total
    byte = tl.load(blocks + place // 2, mask=inside, other=0).to(tl.int32)
    code = (byte >> ((place % 2) * 4).to(tl.int32)) & 15
    scale = tl.load(scales + place // 32, mask=inside, other=0)
    if INT4:
        value = (code - 8).to(tl.float32)
        factor = scale.to(dense.dtype.element_ty).to(tl.float32)
    else:
        # A bit for the sign, two for the exponent, one for a half.
        half = code & 7
        large = (1.0 + 0.5 * (half & 1)) * (1 << tl.maximum((half >> 1) - 1, 0))
        value = tl.where(half < 2, 0.5 * half, large)
        value = tl.where(code > 7, -value, value)
        factor = (scale.to(tl.int32) << 23).to(tl.float32, bitcast=True)
    tl.store(dense + place, (value * factor).to(dense.dtype.element_ty), mask=inside)


def fill_dense(blocks: Tensor, scales: Tensor, dense: Tensor, *, int4: bool) -> None:
    """Write the numbers of blocks [..., G, 16] and scales [..., G] into `dense` [..., G, 32].

    Args:
        blocks: uint8, a number in each half of a byte.
        scales: uint8 exponents, or floating point numbers of INT4.
        dense: contiguous.
        int4: whether the blocks are of integers, else of MXFP4's numbers.
    """
    # Triton starts its kernels on the current device, wherever the tensors are.
    with torch.cuda.device(dense.device):
        _dense[(triton.cdiv(dense.numel(), _NUMBERS),)](
            blocks.contiguous(), scales.contiguous(), dense, dense.numel(), int4, _NUMBERS
        )
