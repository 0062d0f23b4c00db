"""The kernel that makes blocks of 4 bits dense. For machines with a GPU."""

from __future__ import annotations

import pytest
import torch

from dcm.causal_lm.four_bits import blocks_of, dense_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("form", ["mxfp4", "int4"])
@pytest.mark.parametrize("shape", [(3, 40, 96), (5, 32), (1, 7, 4096)])
def test_a_gpu_makes_the_numbers_that_a_cpu_makes(form, dtype, shape):
    random = torch.Generator().manual_seed(0)
    _, scales = blocks_of(form, torch.randn(shape, generator=random).to(dtype))
    blocks = torch.randint(0, 256, (*scales.shape, 16), generator=random, dtype=torch.uint8)
    expected = dense_of(form, blocks, scales, dtype)
    found = dense_of(form, blocks.cuda(), scales.cuda(), dtype)
    assert found.shape == shape
    assert torch.equal(found.cpu(), expected)
