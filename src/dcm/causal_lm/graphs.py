"""Graphs: what a GPU is told kernel by kernel, recorded once and from then on told at once."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dcm.memory_limit import free_cached_memory

# Most positions of a batch that is recorded: of more, the kernels themselves take as long as
# starting them one by one (measured with the bundled model on an H100).
_MOST_POSITIONS = 8192

# Recording takes as long as three steps of that shape. One that has come up as often as that
# has shown that it stays.
_USES = 4

# The part of the GPU's memory that recordings may take.
_SHARE = 0.1

Function = Callable[..., Tensor]
Others = Sequence[Tensor | None]


class Graphs:
    """Starts a small model's forward pass, and its backward pass, on a GPU as if each was one
    kernel.

    A GPU computes such a model's kernels faster than Python starts them, so that a step of four
    rows takes as long as one of hundreds. A CUDA graph starts them all at once, but holds one
    shape, and rows leave. So lines are padded to powers of two, which costs next to nothing
    there and makes shapes come again; and a shape is recorded when it has come up a few times.
    What is computed is the same, recorded or not.

    Source: CUDA graphs as in `torch.cuda.make_graphed_callables`, for shapes that are not known
    beforehand.

    Args:
        device: where the model is.
        active: whether to; without, everything runs as it is.
    """

    def __init__(self, device: torch.device, *, active: bool) -> None:
        self._device = device
        self._active = active
        self._uses: Counter[Hashable] = Counter()
        # The one that was not used for longest comes first.
        self._recorded: dict[Hashable, Recording] = {}

    def run(
        self, function: Function, kind: Hashable, first: Tensor, *others: Tensor | None
    ) -> Tensor:
        """`function(first, *others)`, of more lines where they were padded.

        Args:
            function: of tensors [n, ...], of which no line sees another, to a tensor [n, ...],
                differentiable in the first. It may depend on nothing else than them and `kind`.
            kind: what else it depends on.
            first: [n, positions, ...].
            others: [n, ...] each.
        """
        lines = 1 << (len(first) - 1).bit_length()
        step = first.requires_grad and torch.is_grad_enabled()
        if not self._active or not step or lines * first.shape[1] > _MOST_POSITIONS:
            return function(first, *others)
        first = _padded(first, lines)
        others = tuple(each if each is None else _padded(each, lines) for each in others)
        shape = kind, first.shape, *(each if each is None else each.shape for each in others)
        self._uses[shape] += 1
        if self._uses[shape] == _USES:
            self._record(shape, function, first, others)
        recording = self._recorded.get(shape)
        if recording is None or recording.busy:
            return function(first, *others)
        self._recorded[shape] = self._recorded.pop(shape)
        found: Tensor = _Replay.apply(recording, first, *others)  # type: ignore[no-untyped-call]
        return found

    def _record(self, shape: Hashable, function: Function, first: Tensor, others: Others) -> None:
        try:
            if not self._recorded:
                # What libraries prepare for a stream at first has to be there.
                _forward_and_backward(function, first, others, self._stream)
            self._recorded[shape] = Recording(function, first, others, self._stream)
        except RuntimeError:
            # The function waits for the GPU, which no recording can, or memory has run out. What
            # there was until now is as good.
            self._active = False
            self._recorded.clear()
            free_cached_memory()
            _mend(self._stream)
        most = _SHARE * torch.cuda.get_device_properties(self._device).total_memory
        if shape in self._recorded and self._recorded[shape].taken > most:
            del self._recorded[shape]  # and its uses go on, so that it is not tried again
        while sum(each.taken for each in self._recorded.values()) > most:
            oldest = next(iter(self._recorded))
            del self._recorded[oldest], self._uses[oldest]

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """Where everything is recorded."""
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]


class Recording:
    """A function's forward and backward pass for one shape, in memory of their own.

    Args:
        function: what is recorded.
        first: what it is called with, and what the gradient is wanted of.
        others: what else.
        stream: where it is recorded.

    Attributes:
        taken: bytes of the GPU's memory that it keeps.
    """

    def __init__(
        self, function: Function, first: Tensor, others: Others, stream: torch.cuda.Stream
    ) -> None:
        before = torch.cuda.memory_reserved(first.device)
        self._first = first.detach().clone()
        self._others = [each if each is None else each.clone() for each in others]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        self._pass: weakref.ref[Pass] | None = None
        with _beside(stream), torch.enable_grad():
            with _recorded(self._forward):
                leaf = self._first.detach().requires_grad_()
                found = function(leaf, *self._others)
            self._slope = torch.empty_like(found)
            with _recorded(self._backward, self._forward.pool()):
                (self._gradient,) = torch.autograd.grad(found, leaf, self._slope)
        self._found = found.detach()
        self.taken = torch.cuda.memory_reserved(first.device) - before

    @property
    def busy(self) -> bool:
        """Whether somebody may still ask for the last pass's gradient: one at a time fits in."""
        return self._pass is not None and self._pass() is not None

    def forward(self, first: Tensor, others: Others) -> tuple[Tensor, Pass]:
        """The function's result, which holds until the next pass, and that it is on its way."""
        self._first.copy_(first)
        for own, new in zip(self._others, others, strict=True):
            if own is not None and new is not None:
                own.copy_(new)
        self._forward.replay()
        going = Pass()
        self._pass = weakref.ref(going)
        return self._found.detach(), going

    def backward(self, slope: Tensor) -> Tensor:
        """The gradient in the first tensor of the last pass, which ends it."""
        self._slope.copy_(slope)
        self._backward.replay()
        self._pass = None
        return self._gradient.detach()


class Pass:
    """A forward pass whose gradient may still be asked for, as long as somebody holds it."""


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: Recording, first: Tensor, *others: Tensor | None) -> Tensor:
        found, ctx.going = recording.forward(first, others)
        ctx.recording, ctx.others = recording, len(others)
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.going is None:
            raise RuntimeError("The gradient of one step was asked for twice")
        ctx.going = None
        return None, ctx.recording.backward(slope), *(None,) * ctx.others


def _padded(tensor: Tensor, lines: int) -> Tensor:
    """`tensor` and lines of zeros, `lines` in all."""
    if len(tensor) == lines:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(lines - len(tensor), *tensor.shape[1:])])


@contextmanager
def _beside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Within it work is put on `stream`, after all that was put on the current one."""
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)


def _forward_and_backward(
    function: Function, first: Tensor, others: Others, stream: torch.cuda.Stream
) -> None:
    with _beside(stream), torch.enable_grad():
        leaf = first.detach().requires_grad_()
        found = function(leaf, *others)
        torch.autograd.grad(found, leaf, torch.ones_like(found))


@contextmanager
def _recorded(graph: torch.cuda.CUDAGraph, pool: Any = None) -> Iterator[None]:
    """Within it work on the current stream is recorded, not done."""
    # `torch.cuda.graph` would first give all cached memory back, which takes longer than the rest.
    graph.capture_begin(pool, "thread_local")
    try:
        yield
    finally:
        graph.capture_end()


def _mend(stream: torch.cuda.Stream) -> None:
    """Make torch draw random numbers again, which it refuses after a recording that failed."""
    with warnings.catch_warnings(), _beside(stream):
        warnings.simplefilter("ignore")  # that nothing is recorded
        with _recorded(torch.cuda.CUDAGraph()):
            pass
