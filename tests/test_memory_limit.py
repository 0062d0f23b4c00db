"""Whatever says that memory ran out is understood, so that a run goes on with fewer lanes."""

from __future__ import annotations

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
