"""What a CUDA graph is recorded with: torch is told that a recording is over, a failed one too."""

from __future__ import annotations

import pytest
import torch

from dcm.causal_lm.capture import recorded

POOL = (0, 7)


class Allocator:
    """Torch's, as far as recordings are its business.

    Attributes:
        going: recordings that it takes to go on.
        users: graphs that it keeps the pool for.
    """

    def __init__(self):
        self.going = self.users = 0

    def end(self, device, pool):
        assert (device, pool) == (1, POOL)
        if not self.going:
            raise RuntimeError("not currently recording to mempool_id")
        self.going -= 1

    def release(self, device, pool):
        assert (device, pool) == (1, POOL)
        self.users -= 1


class Graph:
    """A CUDA graph as torch has it: one whose recording failed does not tell its pool.

    Args:
        allocator: the allocator.
        fails: "in" the recording, "after" it, where it is made ready to be started, or not at all.
    """

    def __init__(self, allocator, fails=""):
        self.allocator, self.fails, self.ended = allocator, fails, False

    def capture_begin(self, pool, _mode):
        assert pool == POOL
        self.allocator.going += 1
        self.allocator.users += 1

    def capture_end(self):
        if self.fails == "in":
            raise RuntimeError("operation failed due to a previous error during capture")
        self.allocator.end(1, POOL)
        self.ended = True
        if self.fails == "after":
            raise RuntimeError("CUDA error: out of memory")

    def pool(self):
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return POOL

    def reset(self):
        if self.ended:
            self.allocator.release(1, POOL)


@pytest.fixture
def allocator(monkeypatch):
    found = Allocator()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: POOL)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", found.end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", found.release, raising=False)
    return found


@pytest.mark.parametrize("pool", [None, POOL])
@pytest.mark.parametrize("fails", ["", "in", "after"])
def test_the_allocator_knows_that_a_recording_is_over(allocator, fails, pool):
    graph = Graph(allocator, fails)
    if fails:
        with pytest.raises(RuntimeError), recorded(graph, pool):
            pass
    else:
        with recorded(graph, pool):
            pass
    assert allocator.going == 0
    graph.reset()
    assert allocator.users == 0


def test_what_failed_within_is_told(allocator):
    with pytest.raises(torch.OutOfMemoryError), recorded(Graph(allocator)):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert allocator.going == 0
