"""MlflowTracker: tracks runs with MLflow, in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from dcm import DcmError, TrackedRun, Tracker, mask_secrets
from dcm_mlflow import address, flatten
from dcm_mlflow.flatten import Point
from dcm_mlflow.note import note

if TYPE_CHECKING:
    from dcm_mlflow.store import Store

T = TypeVar("T")

# Seconds that the end of a run waits: for a server that says nothing, and for one that does.
_SILENCE, _LONGEST = 5.0, 60.0


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
        system_metrics: whether to log the use of processor, memory, disk, network and GPU, every
            10 seconds; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets other seconds.
    """

    uri: str | None = attrs.field(default=None, validator=_address)
    experiment: str = attrs.field(default="dcm", validator=attrs.validators.min_len(1))
    run_name: str | None = None
    system_metrics: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

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
        return MlflowRun(self, address.resolve(self.uri), self.run_name or name, description)

    def description_of(self, run: str) -> dict[str, Any]:
        uri = address.resolve(self.uri)
        try:
            from dcm_mlflow.store import description_of

            return description_of(uri, run)
        except Exception as error:
            asked = f"the experiment of the tracked run {run} was asked for"
            cause = next(iter(str(error).splitlines()), type(error).__name__)
            do = f"It was looked for at {uri}; name another store by --set tracker.uri=ADDRESS"
            raise DcmError(asked, mask_secrets(cause), mask_secrets(do)) from error


@attrs.frozen
class _Children(Tracker):
    """Tracks runs below another one, with the settings of its tracker."""

    parent: MlflowRun

    @property
    def place(self) -> str:
        return self.parent.tracker.place

    def start(self, name: str, description: Mapping[str, Any]) -> MlflowRun:
        return MlflowRun(
            self.parent.tracker, self.parent.uri, name, description, parent=self.parent
        )


class MlflowRun(TrackedRun):
    """A run that one thread writes to MLflow.

    After a failure the numbers that follow are dropped, but the end of the run is still tried.
    """

    def __init__(
        self,
        tracker: MlflowTracker,
        uri: str,
        name: str,
        description: Mapping[str, Any],
        parent: MlflowRun | None = None,
    ) -> None:
        self.tracker, self.uri = tracker, uri
        self._name, self._description, self._parent = name, description, parent
        self._began = flatten.now()
        self._opened = Event()
        self._id = ""
        self._last_step: dict[str, int] = {}
        self._waiting: SimpleQueue[list[Point] | None] = SimpleQueue()
        self._end: tuple[
            list[Point], Mapping[str, str], Sequence[Path], str, int, Callable[[str], str]
        ]
        self._failure: DcmError | None = None
        self._reported = self._killed = False
        self._asked: float | None = None  # since when the end of the run waits
        self._heard: float | None = None  # when the store did something last
        # A daemon: a process that dies without `finish` must not wait for it for ever.
        self._thread = Thread(target=self._work, name="dcm-mlflow", daemon=True)
        self._thread.start()

    @property
    def patience(self) -> float:
        """A minute, but 5 seconds of a server's silence are enough."""
        now = monotonic()
        self._asked = self._asked or now
        if self._heard is None or address.sqlite_file(self.uri) is not None:
            # It is mlflow that is being imported, or a file, of which a new one takes seconds.
            return _LONGEST
        return min(_LONGEST, max(0.0, self._heard - self._asked) + _SILENCE)

    def _hear(self) -> None:
        self._heard = monotonic()

    @property
    def hint(self) -> str:
        """`mlflow ui` with the store's address, or the server to open."""
        return address.hint(self.uri)

    @property
    def children(self) -> Tracker:
        """Its runs are shown below this one."""
        return _Children(self)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of the moment; those that are not finite are left out."""
        points = flatten.points(values, step)
        if not self._last_step and (first := values.get("progress/certified_rate")) is not None:
            # A comparison opens on the metric that was stored first.
            points = [*flatten.points({"certified_rate": first}, 0), *points]
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

    def killed(self) -> None:
        """It is stored as killed, and at once: files are sent when it goes on, or never."""
        self._killed = True

    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Path], failed: bool) -> None:
        """The run ends; waits until all is written.

        The summary's numbers become metrics, its texts tags.
        """
        # MLflow takes the value of the highest step as the last, and draws what has no other
        # step than 0 as bars to compare runs by.
        final = flatten.final(summary, self._description)
        points = [point._replace(step=self._step(point)) for point in flatten.points(final, 0)]
        told = partial(note, self._description, summary)
        status = "KILLED" if self._killed else "FAILED" if failed else "FINISHED"
        files = () if self._killed else artifacts
        self._end = (points, flatten.texts(summary), files, status, flatten.now(), told)
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

        self._hear()
        tags = flatten.tags(self._description)
        if self._parent is not None:
            self._parent._opened.wait()
            tags["mlflow.parentRunId"] = self._parent._id
        try:
            store = Store(
                self.uri,
                self._hear,
                self.tracker.experiment,
                self._name,
                self._began,
                flatten.params(self._description),
                tags,
                flatten.data(self._description),
                self.tracker.system_metrics,
            )
            self._id = store.id
            return store
        finally:
            self._opened.set()

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
        asked = f"the run is not, or not wholly, tracked at {self.uri}"
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        do = "See that the store can be reached, or name another in the tracker's field 'uri'"
        return DcmError(mask_secrets(asked), mask_secrets(cause), do)
