"""Whatever says that memory ran out is understood, so that a run goes on with fewer lanes."""

from __future__ import annotations

import weakref

import pytest
import torch

import dcm
from dcm.memory_limit import gives_way, in_parts, is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_every_allocator_is_understood(error):
    assert is_out_of_memory(error)


def test_another_error_is_none():
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


class Kept:
    """Keeps something, and has let go of it or not."""

    kept = True

    def let_go(self) -> bool:
        gone, self.kept = self.kept, False
        return gone


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")


def test_what_is_kept_for_speed_gives_way_before_a_batch_is_halved():
    kept, sizes = Kept(), []
    gives_way(kept)

    def double(items):
        sizes.append(len(items))
        if kept.kept:
            out_of_memory()
        return [2 * each for each in items]

    assert in_parts(double, [1, 2, 3]) == [2, 4, 6]
    assert sizes == [3, 3]


def test_what_failed_is_gone_before_it_is_tried_again():
    """Also where an error is in a circle with what it came through."""
    left = []

    def fails_once(items):
        if not left:
            tensor = torch.ones(8)
            left.append(weakref.ref(tensor))
            try:
                out_of_memory()
            except torch.OutOfMemoryError as error:
                kept = error  # whose traceback has this frame, which has it
                raise kept from None
        assert left[0]() is None
        return list(items)

    assert in_parts(fails_once, [1, 2]) == [1, 2]


def test_a_single_row_too_many_is_told():
    with pytest.raises(dcm.GeneratorError, match="one row alone does not fit into memory"):
        in_parts(out_of_memory, [1, 2, 3])


def test_a_step_goes_on_with_all_rows_when_what_is_kept_gives_way(monkeypatch):
    generator = dcm.find("generator", "nano")()
    kept = Kept()
    gives_way(kept)
    score = type(generator).score

    def short_of_memory(self, content, strands):
        return out_of_memory() if kept.kept else score(self, content, strands)

    monkeypatch.setattr(type(generator), "score", short_of_memory)
    pairs = dcm.pairs([("one", "two"), ("three", "four"), ("five", "six")])
    lanes = []
    solved = list(
        dcm.solve(
            generator, pairs, slots=4, max_steps=3, lanes=3, on_step=lambda s: lanes.append(s.lanes)
        )
    )
    assert len(solved) == 3
    assert set(lanes) == {3}
