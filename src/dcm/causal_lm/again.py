"""Again: what a pass ran within, for what computes a part of it once more, later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

Made = Callable[[], AbstractContextManager[object]]

_open: list[Made] = []


@contextmanager
def within(make: Made) -> Iterator[None]:
    """As `with make()`, and noted for `noted`."""
    _open.append(make)
    try:
        with make():
            yield
    finally:
        _open.pop()


def noted() -> AbstractContextManager[object]:
    """What is open now by `within`, to be entered anew."""
    return _again(tuple(_open))


@contextmanager
def _again(made: tuple[Made, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for make in made:
            stack.enter_context(make())
        yield
