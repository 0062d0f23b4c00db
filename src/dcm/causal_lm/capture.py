"""Capture: CUDA graphs are recorded, and torch is left as it was where a recording fails."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch


@contextmanager
def beside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Within it work is put on `stream`, after all that was put on its device's current one.

    What comes after it waits for that work, also where it raised: it may still be reading.
    """
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        current.wait_stream(stream)


@contextmanager
def recorded(graph: torch.cuda.CUDAGraph, pool: Any = None) -> Iterator[None]:
    """Within it work on the current stream is recorded, not done.

    Args:
        graph: what it becomes.
        pool: the memory that it may use; None for its own.
    """
    device = torch.cuda.current_device()
    # Named here, as a graph does not tell the pool of a recording that failed.
    pool = torch.cuda.graph_pool_handle() if pool is None else pool
    # `torch.cuda.graph` would first give all cached memory back, which takes longer than the rest.
    graph.capture_begin(pool, "thread_local")
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is recorded, where that failed
            try:
                graph.capture_end()
            except RuntimeError:
                _give_up(graph, pool, device)
                raise


def _give_up(graph: torch.cuda.CUDAGraph, pool: Any, device: int) -> None:
    """Tell torch's allocator that a recording is over which could not be ended.

    It takes it to go on, gives no cached memory back while it does, and keeps the pool for a graph
    that there is not.
    """
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(device, pool)
    try:
        graph.pool()  # known where all but the last part went well: then the graph sees to it
    except RuntimeError:
        with suppress(RuntimeError):
            torch._C._cuda_releasePool(device, pool)


def mend(stream: torch.cuda.Stream) -> None:
    """Make torch draw random numbers again, which it refuses after a recording that failed."""
    with beside(stream), recorded(torch.cuda.CUDAGraph()):
        pass
