"""Tracker: tells an experiment tracker what a run does."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from dcm.errors import UsageError

# Seconds: a wait that nobody notices, how often a tracker is asked whether it goes on, and how
# long one who wants to leave is kept.
_UNSEEN = 1.0
_ASKED_AGAIN = 0.2
_PATIENCE = 5.0
_INTERRUPTED = 2.0


class Tracker(ABC):
    """Where runs are tracked: a component, whose fields are its configuration.

    An experiment is tracked as one run, never an example by itself.
    """

    @property
    def place(self) -> str:
        """Where runs are written to, for a reader; empty where there is nothing to say."""
        return ""

    @abstractmethod
    def start(self, name: str, description: Mapping[str, Any]) -> TrackedRun:
        """Begin a run and return at once: slow work is for the background.

        Args:
            name: what to call the run, unless the tracker's configuration says otherwise.
            description: the content of `experiment.json`, with the `directory` of the run and a
                `key` that stays the same when the run goes on: the tracked run of that key may go
                on as well.

        Raises:
            DcmError: the place where runs are tracked cannot be used.
        """

    def description_of(self, run: str) -> dict[str, Any]:
        """The `experiment.json` of a run that is tracked, by the name it has there.

        Raises:
            DcmError: there is no such run, or this tracker keeps none.
        """
        asked = f"the experiment of the tracked run {run} was asked for"
        raise UsageError(asked, f"{type(self).__name__} does not keep it", "Name a run's folder")


class TrackedRun(ABC):
    """One run that is being tracked.

    `metrics`, `curve` and `finish` raise a DcmError when tracking fails, then or earlier, and
    raise it once: whoever calls them warns and calls on, since a tracker never stops a run.
    """

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of the moment; `step` is the number of finished examples."""

    @abstractmethod
    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """A finished curve over optimisation steps: (step, value) pairs."""

    @abstractmethod
    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Path], failed: bool) -> None:
        """The run ends; what was told before is safe when this returns.

        Args:
            summary: the final numbers, nested mappings of numbers and texts. A number that
                `metrics` named too is that number's last value.
            artifacts: files and folders to keep; those that do not exist are left out.
            failed: whether the run ended by an error.
        """

    def killed(self) -> None:  # noqa: B027 - not every tracker tells this from a failure
        """The run was ended by Ctrl-C or a signal: `finish` follows, and nobody waits for long."""

    @property
    def patience(self) -> float:
        """Most seconds that the end of an experiment may wait for it.

        It is asked again while that waits, and may grow with what was taken meanwhile.
        """
        return _PATIENCE

    @property
    @abstractmethod
    def hint(self) -> str:
        """One line that says how to look at what is tracked."""

    @property
    def children(self) -> Tracker | None:
        """A tracker whose runs stand below this one; None where there is no such thing."""
        return None


class GuardedTracking:
    """A tracked run, if one is wanted, that can neither stop nor hold the experiment.

    A thread tells the tracker; what it raises becomes a warning. The experiment waits for it at
    its end alone, as long as the tracked run's `patience` says.
    """

    def __init__(
        self,
        tracker: Tracker | None,
        warn: Callable[[str], None],
        on_wait: Callable[[str], None] = lambda _words: None,
    ) -> None:
        self._tracker, self._warn, self._on_wait = tracker, warn, on_wait
        self._run: TrackedRun | None = None
        self._waiting: SimpleQueue[tuple[str, tuple[Any, ...]] | None] = SimpleQueue()
        self._thread: Thread | None = None

    @property
    def active(self) -> bool:
        return self._run is not None

    @property
    def children(self) -> Tracker | None:
        """A tracker of runs below this one; None where there is no such thing."""
        try:
            return self._run.children if self._run is not None else None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - tracking must not stop a run
            self._warn(f"Tracking failed: {_told(error)}")
            return None

    def start(self, name: str, description: Mapping[str, Any]) -> None:
        if self._tracker is None:
            return
        try:
            self._run = self._tracker.start(name, description)
            if not isinstance(self._run, TrackedRun):
                found, self._run = type(self._run).__name__, None
                raise TypeError(f"the tracker started {found}, not a TrackedRun")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - tracking must not stop a run
            self._warn(f"The run is not tracked: {_told(error)}")
            return
        # A daemon: a process that ends must not wait for it.
        self._thread = Thread(target=self._work, name="dcm-tracking", daemon=True)
        self._thread.start()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self._tell("metrics", values, step)

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        self._tell("curve", name, points)

    def finish(
        self,
        summary: Mapping[str, Any],
        artifacts: Sequence[Path],
        failed: bool,
        interrupted: bool = False,
    ) -> None:
        """The run ends; as `TrackedRun.finish`.

        Args:
            interrupted: somebody wants to leave, and waits.
        """
        if self._run is None or self._thread is None:
            return
        if interrupted:
            self._tell("killed")
        self._tell("finish", summary, artifacts, failed)
        self._waiting.put(None)
        began = time.monotonic()
        said = False
        while self._thread.is_alive():
            waited = time.monotonic() - began
            left = min(self._patience(), _INTERRUPTED if interrupted else math.inf) - waited
            if left <= 0:
                break
            if waited >= _UNSEEN and not said:
                said = True
                self._on_wait("waiting for the tracker, Ctrl-C leaves")
            self._thread.join(min(left, _ASKED_AGAIN if said else _UNSEEN))
        if self._thread.is_alive():
            self._warn(
                "The tracker did not take everything in time. The run's folder has it all; send "
                "it later by: dcm track DIR"
            )

    def _patience(self) -> float:
        try:
            return float(self._run.patience) if self._run is not None else 0.0
        except (Exception, SystemExit):  # noqa: BLE001 - tracking must not stop a run
            return _PATIENCE

    def _tell(self, method: str, *arguments: Any) -> None:
        if self._run is not None:
            self._waiting.put((method, arguments))

    def _work(self) -> None:
        warned: set[str] = set()
        while (told := self._waiting.get()) is not None:
            method, arguments = told
            try:
                getattr(self._run, method)(*arguments)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - tracking must not stop a run
                words = f"Tracking failed: {_told(error)}"
                if words not in warned:  # once is enough
                    warned.add(words)
                    self._warn(words)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
