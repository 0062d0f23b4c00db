"""Recording: what a GPU is told kernel by kernel, recorded once and from then on told at once."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dcm.causal_lm.capture import beside, mend, recorded
from dcm.memory_limit import (
    allowed_on_gpu,
    begin_peak,
    free_cached_memory,
    free_on_gpu,
    gives_way,
    is_out_of_memory,
)

# A pass waits for its launches where they take this share of its time. What computes for longer
# gains nothing by a recording, and would be rounded up for it.
_LAUNCHES = 0.9

# Recordings that may fail before no more are tried.
_FAILURES = 3

# Passes that show that recordings fit: they are not what runs out of memory later.
_FITTED = 256

# Passes before the first one that is timed.
_WARM = 3

# Passes of up to so many positions are taken to wait for their launches while nothing is known.
_SMALL = 4096

# The part of the GPU's memory that recordings may take together.
_SHARE = 0.15

# Times as much as a pass took is what a recording of it may need.
_NEEDS = 1.2

Found = tuple[Tensor, Tensor]
Function = Callable[..., Found]
"""Of tensors to two tensors, the first differentiable in the first argument."""


class Recordings:
    """Starts a model's forward pass, and its backward pass, on a GPU as if each was one kernel.

    Where a GPU computes kernels faster than Python starts them, a step of four rows takes as long
    as one of hundreds. A CUDA graph starts them all at once, but holds one shape. So totals are
    rounded, and passes of up to as many positions as were seen to wait for their launches are
    recorded when they first come. All recordings live in one piece of memory: one pass at a time
    is on its way, others run as they are. What is computed is the same, recorded or not.

    Source: CUDA graphs as in `torch.cuda.make_graphed_callables`, for shapes that are not known
    beforehand.

    Args:
        device: where the model is; on any but a GPU everything runs as it is.

    Attributes:
        limit: passes of more positions are not recorded: a GPU is busy with them.
        made: how many recordings were made.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.limit = 1 << 16 if device.type == "cuda" else 0
        self.made = 0
        self._passes = self._failed = self._replayed = 0
        self._waits_up_to = self._largest = 0
        self._may_wait = _SMALL
        self._timed: _Timed | None = None
        self._even: list[int] = []
        self._recorded: dict[Hashable, Recording] = {}
        self._pass: weakref.ref[Pass] | None = None
        gives_way(self)

    @property
    def rounds(self) -> int:
        """Sizes of up to so many positions should be rounded, so that they come again.

        What a large pass computes for nothing costs more than its launches.
        """
        return min(self.limit, self._may_wait)

    def run(
        self,
        function: Function,
        kind: Hashable,
        positions: int,
        first: Tensor,
        *others: Tensor,
        recurs: bool = True,
    ) -> Found:
        """`function(first, *others)`.

        Args:
            function: it may depend on nothing else than the tensors and `kind`.
            kind: what else it depends on.
            positions: how large the pass is.
            first: what the gradient is wanted of.
            others: what else.
            recurs: whether passes of this size come again, so that a recording serves them.
        """
        step = first.requires_grad and torch.is_grad_enabled()
        if not step or positions > self.limit:
            return function(first, *others)
        self._learn()
        key = kind, first.shape, *(each.shape for each in others)
        recording = self._recorded.get(key)
        if recording is None and recurs and positions <= self._waits_up_to:
            recording = self._record(key, function, positions, first, others)
        elif recording is None:
            self._passes += 1
            # In the first passes kernels are loaded, which says nothing of those to come.
            if self._passes <= _WARM or self._timed is not None:
                return function(first, *others)
            timed, held = _Timed(positions), torch.cuda.memory_reserved(self._device)
            with timed.watched(first.device):
                result = function(first, *others)
            # Only now: a pass that fails, of memory say, tells nothing, nor does one for which the
            # driver was asked for memory, which takes the host long.
            if torch.cuda.memory_reserved(self._device) == held:
                self._timed = timed
            return result
        if recording is None or self._busy:
            return function(first, *others)
        self._replayed += 1
        going = Pass()
        self._pass = weakref.ref(going)
        found: Found = _Replay.apply(recording, going, first, *others)  # type: ignore[no-untyped-call]
        return found

    def forget(self) -> None:
        """Begin anew: what was recorded runs another way now."""
        self._recorded.clear()
        self._even.clear()
        self._passes = self._waits_up_to = self._largest = 0
        self._timed = None
        free_cached_memory()
        self.__dict__.pop("_pool", None)

    def let_go(self) -> bool:
        """Memory ran out: give recordings up; whether there were any.

        What ran out is not known: a step beside them, or what has nothing to do with steps, as
        decoding. Where they served many passes since they last gave way, they fit beside the steps
        and are made again when these go on, as is then worth it. Else no pass as large is recorded
        again, or each step would run out of memory, give them up, and be recorded once more.
        """
        if not self._recorded:
            return False
        if self._replayed < _FITTED:
            self.limit = min(self.limit, self._largest // 2)
        self._replayed = 0
        waits_up_to = self._waits_up_to
        self.forget()
        self._waits_up_to = min(waits_up_to, self.limit)
        return True

    def _learn(self) -> None:
        """Take over what was timed last, once it is known."""
        timed = self._timed
        if timed is None or not timed.over:
            return
        self._timed = None
        if timed.waits:
            self._waits_up_to = max(self._waits_up_to, timed.positions)
            self._may_wait = max(self._may_wait, timed.positions)
        else:
            self._even.append(timed.even)
            # A single measurement may have been disturbed.
            self.limit = min([self.limit, *sorted(self._even)[1:2]])

    def _fits(self, needed: int) -> bool:
        """Whether there is memory to record a pass that needs so many bytes.

        Where it ran out meanwhile nothing could be done: it is not given back within a recording.
        """
        needed = int(_NEEDS * needed)
        if needed > free_on_gpu(self._device):
            free_cached_memory()
        most = _SHARE * allowed_on_gpu(self._device)
        return needed <= min(most, free_on_gpu(self._device))

    @property
    def _busy(self) -> bool:
        """Whether somebody may still ask for the last pass's gradient: one at a time fits in."""
        going = None if self._pass is None else self._pass()
        return going is not None and not going.over

    def _record(
        self,
        key: Hashable,
        function: Function,
        positions: int,
        first: Tensor,
        others: Sequence[Tensor],
    ) -> Recording | None:
        before = torch.cuda.memory_reserved(self._device)
        try:
            if self._busy:
                return None
            if positions > self._largest:
                # Once as it is: what libraries prepare for a stream has to be there, and what it
                # takes has to be known. All recordings share the memory of the largest.
                needed = _forward_and_backward(function, first, others, self._stream)
                if not self._fits(needed):
                    self.limit = min(self.limit, positions - 1)
                    return None
            recording = self._made(function, first, others)
        except RuntimeError:
            # The function waits for the GPU, which no recording can, or memory has run out. What
            # there was until now is as good.
            mend(self._stream)
            self._failed += 1
            if self._failed == _FAILURES:
                self.limit = 0
                self.forget()
            return None
        self.made += 1
        # They share their memory, which grows with the largest.
        taken = torch.cuda.memory_reserved(self._device) - before
        if taken > _SHARE * allowed_on_gpu(self._device):
            # No pass of its size again; its memory comes free with the last of them.
            self.limit = min(self.limit, positions - 1)
            del recording
            self.forget()
            return None
        self._recorded[key] = recording
        self._largest = max(self._largest, positions)
        return recording

    def _made(self, function: Function, first: Tensor, others: Sequence[Tensor]) -> Recording:
        try:
            return Recording(function, first, others, self._stream, self._pool)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            mend(self._stream)
        # A kernel had to be compiled or loaded, which no recording can.
        _forward_and_backward(function, first, others, self._stream)
        return Recording(function, first, others, self._stream, self._pool)

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """Where everything is recorded."""
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    @cached_property
    def _pool(self) -> Any:
        """The memory of all recordings."""
        return torch.cuda.graph_pool_handle()


class _Timed:
    """How long a pass took to start, and to compute.

    Args:
        positions: how large it is.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self._events = [
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        ]
        self._starting = 0.0

    @contextmanager
    def watched(self, device: torch.device) -> Iterator[None]:
        """Within it the pass is started; `device` need not be the current one."""
        stream = torch.cuda.current_stream(device)
        began = time.perf_counter()
        self._events[0].record(stream)
        yield
        self._events[1].record(stream)
        self._starting = time.perf_counter() - began

    @property
    def over(self) -> bool:
        """Whether the GPU has computed it."""
        return bool(self._events[1].query())  # type: ignore[no-untyped-call]

    @property
    def waits(self) -> bool:
        """Whether launches took the time."""
        return self._starting >= _LAUNCHES * self._taken

    @property
    def even(self) -> int:
        """About as many positions take as long to compute as to start."""
        return int(self.positions * self._starting / self._taken)

    @property
    def _taken(self) -> float:
        return float(self._events[0].elapsed_time(self._events[1])) / 1000


class Recording:
    """A function's forward and backward pass for one shape.

    Args:
        function: what is recorded.
        first: what it is called with, and what the gradient is wanted of.
        others: what else.
        stream: where it is recorded.
        pool: the memory that it may use between the beginning and the end of a pass.
    """

    def __init__(
        self,
        function: Function,
        first: Tensor,
        others: Sequence[Tensor],
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self._first = first.detach().clone()
        self._others = [each.detach().clone() for each in others]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with beside(stream), torch.enable_grad():
            with recorded(self._forward, pool):
                leaf = self._first.detach().requires_grad_()
                found, aside = function(leaf, *self._others)
            self._slope = torch.empty_like(found)
            with recorded(self._backward, pool):
                (self._gradient,) = torch.autograd.grad(found, leaf, self._slope)
        self._found, self._aside = found.detach(), aside.detach()

    def forward(self, first: Tensor, others: Sequence[Tensor]) -> Found:
        """The function's results."""
        self._first.copy_(first)
        for own, new in zip(self._others, others, strict=True):
            own.copy_(new)
        self._forward.replay()
        # Copies, since the next pass of any recording may overwrite them.
        return self._found.clone(), self._aside.clone()

    def backward(self, slope: Tensor) -> Tensor:
        """The gradient in the first tensor of the last pass."""
        self._slope.copy_(slope)
        self._backward.replay()
        return self._gradient.clone()


class Pass:
    """A forward pass whose gradient may still be asked for, as long as somebody holds it."""

    over = False


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: Recording, going: Pass, first: Tensor, *others: Tensor) -> Any:
        found, aside = recording.forward(first, others)
        ctx.recording, ctx.going, ctx.others = recording, going, len(others)
        ctx.mark_non_differentiable(aside)
        return found, aside

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.going.over:
            raise RuntimeError("The gradient of one step was asked for twice")
        ctx.going.over = True
        return None, None, ctx.recording.backward(slope), *(None,) * ctx.others


def _forward_and_backward(
    function: Function, first: Tensor, others: Sequence[Tensor], stream: torch.cuda.Stream
) -> int:
    """Most bytes that it took."""
    begin_peak(stream.device)
    before = torch.cuda.memory_allocated(stream.device)
    with beside(stream), torch.enable_grad():
        leaf = first.detach().requires_grad_()
        found, _ = function(leaf, *others)
        torch.autograd.grad(found, leaf, torch.ones_like(found))
    return int(torch.cuda.max_memory_allocated(stream.device)) - before
