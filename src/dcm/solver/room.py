"""Room: how many rows a device has memory for, learnt from the steps themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dcm.memory_limit import begin_peak, free_cached_memory, free_on_gpu
from dcm.solver.free_memory import free_memory

# More rows at once cost memory and gain nothing: a CPU is as fast with 96 rows as with more, and a
# small model on a GPU no faster with 2,000 (measured).
_CPU_MOST, _GPU_MOST = 96, 1024
_CPU_FIRST, _GPU_FIRST = 4, 16

# Shares of the free memory that rows may take. What a CPU's steps need beside what autograd keeps
# is not seen, and other programs want some, too. On a GPU recordings want some.
_CPU_SHARE, _GPU_SHARE = 0.5, 0.75

# How many times as many positions as were measured are taken at once: what a step takes beside its
# positions makes the measure of a few of them too large, never too small.
_LEAP = 8

# Where memory ran out, this share of what was tried is what there is.
_LESS = 0.9

_UNKNOWN = 1 << 62


class Room:
    """Chooses the number of lanes: a few at first, then as many as memory holds.

    Memory is for positions, of which rows with longer texts take more: so what is learnt, and kept
    to, is how many of them fit. Where memory ran out there are fewer, and on a GPU learning goes
    on from there: steps take less once they are compiled.

    Args:
        device: where the rows are.
        fixed: a number of lanes to stay at, unless memory runs out; None to choose.

    Attributes:
        lanes: how many rows there may be now.
        positions: how many positions they may take together.
    """

    def __init__(self, device: torch.device, fixed: int | None) -> None:
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self._device = device
        self._most = _GPU_MOST if device.type == "cuda" else _CPU_MOST
        self.lanes = fixed or (_GPU_FIRST if device.type == "cuda" else _CPU_FIRST)
        self.positions = _UNKNOWN
        self._chooses = self._learning = fixed is None
        # Positions for which memory ran out, until a step tells what they take.
        self._failed = _UNKNOWN
        if not self._chooses:
            return
        if device.type == "cuda":
            free_cached_memory()
            self._held = torch.cuda.memory_allocated(device)
            self._budget = _GPU_SHARE * free_on_gpu(device)
        else:
            self._budget = _CPU_SHARE * free_memory()

    @contextmanager
    def watch(self, rows: int, positions: int) -> Iterator[None]:
        """Learn from a step of `rows` rows with so many positions what one takes.

        An error teaches nothing, nor do fewer rows than there may be.
        """
        full = rows >= self.lanes or 2 * positions > self.positions
        if not self._learning or not full:
            yield
        elif self._device.type == "cuda":
            begin_peak(self._device)
            yield
            taken = max(1, torch.cuda.max_memory_allocated(self._device) - self._held)
            # In bytes, since positions may take fewer of them by and by.
            self._budget = min(self._budget, _LESS * self._failed * (taken / positions))
            self._failed = _UNKNOWN
            self._grow(self._budget / taken, rows, positions)
            self._learning = self.lanes < self._most
        else:
            kept: dict[int, int] = {}

            def keep(tensor: Tensor) -> Tensor:
                if tensor.requires_grad:  # weights need none
                    storage = tensor.untyped_storage()
                    kept[storage.data_ptr()] = storage.nbytes()
                # The tensor itself would keep alive the graph that keeps it.
                return tensor.detach()

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                yield
            taken = max(1, sum(kept.values()))
            self._grow(self._budget / taken, rows, positions)
            self._learning = False

    def shrink(self, lanes: int, positions: int, failed: int) -> None:
        """Memory ran out for `failed` positions: go on with `lanes` and `positions`."""
        self.lanes, self.positions = lanes, positions
        self._failed = failed
        self._learning = self._chooses and self._device.type == "cuda"

    def _grow(self, times: float, rows: int, positions: int) -> None:
        """So many times what was measured fits."""
        leap = min(times, _LEAP) if self._device.type == "cuda" else times
        self.positions = max(positions, int(leap * positions))
        self.lanes = min(self._most, max(rows, self.lanes, int(leap * rows)))
