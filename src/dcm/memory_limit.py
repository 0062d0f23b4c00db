"""Going on with smaller batches when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from dcm.errors import GeneratorError

T = TypeVar("T")
U = TypeVar("U")

_SAID = ("can't allocate memory", "CUDA out of memory", "CUDA error: out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator, the CUDA driver and some CUDA libraries raise another RuntimeError.
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _SAID)


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
        if len(items) < 2:
            raise too_large(error) from error
    free_cached_memory()
    middle = len(items) // 2
    return in_parts(function, items[:middle]) + in_parts(function, items[middle:])


def too_large(error: BaseException) -> GeneratorError:
    """What to say where memory does not hold one row."""
    asked = "one row alone does not fit into memory"
    do = "Use fewer slots, a smaller dtype, or a larger device"
    return GeneratorError(asked, str(error).partition("\n")[0], do)


def free_cached_memory() -> None:
    """Give memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
