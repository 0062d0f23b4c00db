"""Tracker: tells an experiment tracker what a run does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


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
            description: the content of `experiment.json`.

        Raises:
            DcmError: the place where runs are tracked cannot be used.
        """


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

    @property
    @abstractmethod
    def hint(self) -> str:
        """One line that says how to look at what is tracked."""


class GuardedTracking:
    """A tracked run, if one is wanted, whose failures are told and never stop the experiment."""

    def __init__(self, tracker: Tracker | None, warn: Callable[[str], None]) -> None:
        self._tracker, self._warn = tracker, warn
        self._run: TrackedRun | None = None

    @property
    def active(self) -> bool:
        return self._run is not None

    def start(self, name: str, description: Mapping[str, Any]) -> None:
        if self._tracker is not None:
            try:
                self._run = self._tracker.start(name, description)
            except Exception as error:  # noqa: BLE001 - tracking must not stop a run
                self._warn(f"The run is not tracked: {error}")

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if self._run is None:
                return
            try:
                getattr(self._run, name)(*arguments)
            except Exception as error:  # noqa: BLE001 - tracking must not stop a run
                self._warn(f"Tracking failed: {error}")

        return call
