"""Engine: starts workers, carries messages to and from them, and notices when one is gone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import attrs

from dcm.errors import UsageError, did_you_mean

NAMES = {
    "local": "dcm.engines.local:Local",
    "ray": "dcm.engines.ray:Ray",
    "torchrun": "dcm.engines.torchrun:Torchrun",
}
"""name -> class"""

RUN_IS_GONE = 3
"""The exit status of a worker whose run is gone."""


@attrs.frozen
class Gone:
    """A worker that ended, or was lost, and why."""

    why: str


class Link(ABC):
    """A worker's way to the run."""

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a message; waits while the run has others to take.

        Raises:
            OSError: the run is gone.
        """

    @abstractmethod
    def receive(self) -> bytes:
        """The next message from the run; waits for it.

        Raises:
            EOFError: the run is gone.
        """


class Engine(ABC):
    """Workers of a run, or of runs one after the other.

    A worker speaks first, by which the run learns of it.

    It knows nothing of what messages say. Workers end when the process that started them ends,
    in whatever way.
    """

    @abstractmethod
    def start(self, work: str) -> None:
        """Start the workers.

        Args:
            work: "package.module:function", which each worker calls with its `Link`.

        Raises:
            UsageError: there is nothing to start them on.
        """

    @abstractmethod
    def receive(self, seconds: float) -> Iterator[tuple[str, bytes | Gone]]:
        """What workers have said: (worker, message). Waits at most `seconds` for the first.

        A message is taken from its worker when the iterator comes to it, so that no more than one
        is held in memory.
        """

    @abstractmethod
    def send(self, worker: str, message: bytes) -> None:
        """Send a message to a worker; nothing happens if it is gone."""

    @abstractmethod
    def replace(self, worker: str) -> None:
        """Start another worker in place of one that is gone, where this engine can."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many workers there are, those that are still starting included."""

    @abstractmethod
    def close(self) -> None:
        """End all workers of the run; another may start."""

    def end(self) -> None:  # noqa: B027 - most have nobody to tell
        """Say to those that `serve` several runs that no more come."""

    @property
    def leads(self) -> bool:
        """Whether this process leads the run. One that does not calls `serve` instead."""
        return True

    @property
    def restarted(self) -> bool:
        """Whether this is a job that was started again after a failure, and goes on."""
        return False

    def serve(self, work: str, *, several: bool = False) -> None:
        """Work for the process that leads, until it has no more work.

        Args:
            work: as `start` takes it.
            several: run after run, until the one that leads says `end` or is gone; else one run.
        """
        raise NotImplementedError


def engine_of(engine: Engine | str, workers: int | None = None) -> Engine:
    """An engine, which may be given by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if isinstance(engine, Engine):
        return engine
    if engine not in NAMES:
        raise UsageError(f"there is no engine {engine!r}", "", did_you_mean(str(engine), NAMES))
    if workers is not None and engine == "torchrun":
        asked = f"{workers} workers were asked for of torchrun"
        raise UsageError(asked, "There is one a rank", "Leave out the number")
    try:
        made = function_of(NAMES[engine])(**({} if workers is None else {"workers": workers}))
    except ValueError as error:
        raise UsageError(f"workers = {workers!r:.40} was asked for", str(error.args[0])) from error
    assert isinstance(made, Engine)  # noqa: S101 - NAMES holds engines alone
    return made


def function_of(target: str) -> Callable[..., Any]:
    """What "package.module:name" names."""
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
