"""Going on with smaller batches when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from weakref import WeakSet

import torch

from dcm.errors import GeneratorError

T = TypeVar("T")
U = TypeVar("U")

# CUDA's runtime and driver, Triton, and libraries each have a sentence of their own.
_SAID = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # All but torch's own allocator of a GPU's memory raise another RuntimeError.
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _SAID)


class Keeper(Protocol):
    """Keeps memory that makes something faster, and does without where memory runs out."""

    def let_go(self) -> bool:
        """Let go of it; whether there was any. If it soon must again, less will be kept."""


_keepers: WeakSet[Keeper] = WeakSet()


def gives_way(keeper: Keeper) -> None:
    """Ask `keeper` to let go of its memory when it runs out."""
    _keepers.add(keeper)


def make_way() -> bool:
    """Memory ran out: let go of what only makes things faster. False if there is nothing left."""
    gone = [keeper.let_go() for keeper in list(_keepers)]
    # What failed may be in circles, of an error and the frames that it came through, say.
    gc.collect()
    free_cached_memory()
    return any(gone)


def in_parts(function: Callable[[Sequence[T]], list[U]], items: Sequence[T]) -> list[U]:
    """`function(items)`, in halves, and halves of those, where memory does not hold them all.

    Raises:
        GeneratorError: memory does not hold a single one.
    """
    try:
        return function(items)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        said = str(error)
    # Out of the handler, whose traceback would keep what was computed alive.
    if make_way():
        return in_parts(function, items)
    if len(items) < 2:
        raise too_large(said)
    middle = len(items) // 2
    return in_parts(function, items[:middle]) + in_parts(function, items[middle:])


def too_large(said: str) -> GeneratorError:
    """What to say where memory does not hold one row.

    Args:
        said: the error's own words.
    """
    asked = "one row alone does not fit into memory"
    do = "Use fewer slots, a smaller dtype, or a larger device"
    return GeneratorError(asked, said.partition("\n")[0], do)


def free_cached_memory() -> None:
    """Give memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def allowed_on_gpu(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process may take, if no other takes them."""
    _, total = torch.cuda.mem_get_info(device)
    return int(total * torch.cuda.get_per_process_memory_fraction(_index(device)))


def free_on_gpu(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process may still take."""
    free, _ = torch.cuda.mem_get_info(device)
    return min(free, allowed_on_gpu(device) - torch.cuda.memory_reserved(device))


_highest: dict[int, int] = {}
"""device -> most bytes that were held at once before the last `begin_peak`"""


def begin_peak(device: torch.device) -> None:
    """Let torch tell the most bytes that are held at once from now on."""
    index = _index(device)
    _highest[index] = peak_on_gpu(device)
    torch.cuda.reset_peak_memory_stats(device)


def peak_on_gpu(device: torch.device) -> int:
    """Most bytes of a GPU that this process held at once, since it began or `forget_peak`."""
    return max(_highest.get(_index(device), 0), int(torch.cuda.max_memory_allocated(device)))


def forget_peak(device: torch.device) -> None:
    """`peak_on_gpu` begins anew."""
    torch.cuda.reset_peak_memory_stats(device)
    _highest.pop(_index(device), None)


def _index(device: torch.device) -> int:
    # A device may be "cuda" alone, the current one, which torch does not take everywhere.
    return torch.cuda.current_device() if device.index is None else device.index
