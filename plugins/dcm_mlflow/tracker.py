"""MlflowTracker: tracks runs with MLflow, in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from dcm import DcmError, TrackedRun, Tracker, mask_secrets
from dcm_mlflow import address, flatten
from dcm_mlflow.flatten import Point

if TYPE_CHECKING:
    from dcm_mlflow.store import Store

T = TypeVar("T")


def _address(_instance: object, _attribute: object, value: str | None) -> None:
    if value is not None:
        address.check(value)


@attrs.frozen
class MlflowTracker(Tracker):
    """Tracks runs with MLflow: in a local SQLite file, or on a server.

    A new SQLite store takes seconds to make, and mlflow itself seconds to import: a thread does
    both, and what a run tells in the meantime waits. mlflow's telemetry is off unless
    MLFLOW_DISABLE_TELEMETRY says otherwise, and a local store opens no connection.

    Attributes:
        uri: address of the store, as `mlflow ui --backend-store-uri` takes it; None is the
            environment's MLFLOW_TRACKING_URI, or else `sqlite:///mlflow.db`, a file in the
            current folder.
        experiment: MLflow experiment that the runs belong to; made if missing. The files of a
            SQLite store are kept beside the database, in `mlartifacts/<experiment>`.
        run_name: what to call the runs; None takes the name the run itself gives.
    """

    uri: str | None = attrs.field(default=None, validator=_address)
    experiment: str = attrs.field(default="dcm", validator=attrs.validators.min_len(1))
    run_name: str | None = None

    @property
    def place(self) -> str:
        return address.place(self.uri)

    def start(self, name: str, description: Mapping[str, Any]) -> MlflowRun:
        """Begin a run.

        Raises:
            UsageError: MLFLOW_TRACKING_URI is no address.
            DcmError: the SQLite file cannot be used. That a server cannot be reached is found
                in the background, and raised by the run's methods.
        """
        uri = address.resolve(self.uri)
        settings, origin = flatten.params(description), flatten.tags(description)
        return MlflowRun(uri, self.experiment, self.run_name or name, settings, origin)


class MlflowRun(TrackedRun):
    """A run that one thread writes to MLflow.

    After a failure the numbers that follow are dropped, but the end of the run is still tried.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        self._uri = uri
        self._new = (uri, experiment, name, flatten.now(), params, tags)
        self._last_step: dict[str, int] = {}
        self._waiting: SimpleQueue[list[Point] | None] = SimpleQueue()
        self._end: tuple[list[Point], Mapping[str, str], Sequence[Path], bool, int]
        self._failure: DcmError | None = None
        self._reported = False
        # A daemon: a process that dies without `finish` must not wait for it for ever.
        self._thread = Thread(target=self._work, name="dcm-mlflow", daemon=True)
        self._thread.start()

    @property
    def patience(self) -> float:
        """5 seconds for a server; a minute for a file, of which a new one takes seconds to make."""
        return 5.0 if address.sqlite_file(self._uri) is None else 60.0

    @property
    def hint(self) -> str:
        """`mlflow ui` with the store's address, or the server to open."""
        return address.hint(self._uri)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of the moment; those that are not finite are left out."""
        points = flatten.points(values, step)
        self._last_step |= {point.name: max(step, self._step(point)) for point in points}
        self._waiting.put(points)
        self._report()

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """A curve over optimisation steps, as the metric `curves/<name>`."""
        self._waiting.put(
            [
                point
                for step, value in points
                for point in flatten.points({"curves": {name: value}}, step)
            ]
        )
        self._report()

    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Path], failed: bool) -> None:
        """The run ends; waits until all is written.

        The summary's numbers become metrics, its texts tags.
        """
        # MLflow takes the value of the highest step as the last, and draws what has no other
        # step than 0 as bars to compare runs by.
        points = [point._replace(step=self._step(point)) for point in flatten.points(summary, 0)]
        self._end = (points, flatten.texts(summary), artifacts, failed, flatten.now())
        self._waiting.put(None)
        self._thread.join()
        self._report()

    def _step(self, point: Point) -> int:
        return self._last_step.get(point.name, 0)

    def _report(self) -> None:
        if self._failure is not None and not self._reported:
            self._reported = True
            raise self._failure

    def _work(self) -> None:
        store = self._attempt(self._open)
        while (points := self._take()) is not None:
            if store is not None and self._failure is None:
                self._attempt(partial(store.log, points))
        if store is not None:
            self._attempt(partial(store.finish, *self._end))

    def _open(self) -> Store:
        from dcm_mlflow.store import Store

        return Store(*self._new)

    def _take(self) -> list[Point] | None:
        """All that waits, at least one thing; None at the end of the run."""
        points = self._waiting.get()
        with suppress(Empty):
            while points is not None:
                more = self._waiting.get_nowait()
                if more is None:
                    self._waiting.put(None)
                    return points
                points += more
        return points

    def _attempt(self, do: Callable[[], T]) -> T | None:
        try:
            return do()
        except Exception as error:  # noqa: BLE001 - nothing that a store does may stop a run
            if self._failure is None:
                self._failure = self._explained(error)
                self._failure.__cause__ = error
            return None

    def _explained(self, error: Exception) -> DcmError:
        asked = f"the run is not, or not wholly, tracked at {self._uri}"
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        do = "See that the store can be reached, or name another in the tracker's field 'uri'"
        return DcmError(mask_secrets(asked), mask_secrets(cause), do)
