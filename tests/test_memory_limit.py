"""Whatever says that memory ran out is understood, so that a run goes on with fewer lanes."""

from __future__ import annotations

import pytest
import torch

from dcm.memory_limit import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_every_allocator_is_understood(error):
    assert is_out_of_memory(error)


def test_another_error_is_none():
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
