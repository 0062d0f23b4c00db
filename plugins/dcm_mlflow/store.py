"""A run in an MLflow store. The one module that imports mlflow, which takes seconds."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# MLflow reads these; whoever set them otherwise is obeyed. The last two are the seconds that a
# server may be silent and how often it is asked again: MLflow's own 120 and 7 take many minutes.
for _name, _default in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}.items():
    os.environ.setdefault(_name, _default)

from mlflow import MlflowClient  # noqa: E402 - after its settings
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.utils.logging_utils import suppress_logs_in_thread  # noqa: E402

from dcm_mlflow.address import artifact_folder, sqlite_file  # noqa: E402
from dcm_mlflow.flatten import Data, Point  # noqa: E402
from dcm_mlflow.table import TABLES, write_table  # noqa: E402

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100


@contextmanager
def _quiet() -> Iterator[None]:
    """Let no library log to the terminal from this thread."""
    thread = threading.get_ident()

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    connections = logging.getLogger("urllib3.connectionpool")
    connections.addFilter(elsewhere)
    try:
        with suppress_logs_in_thread():
            yield
    finally:
        connections.removeFilter(elsewhere)


class _Heard:
    """A client that says after each call that there was an answer."""

    def __init__(self, client: MlflowClient, heard: Callable[[], None]) -> None:
        self._client, self._heard = client, heard

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            answer = method(*arguments, **named)
            self._heard()
            return answer

        return call


class Store:
    """A new run in the store at `uri`. Every method may raise whatever MLflow raises.

    `heard` is called whenever the store has answered.
    """

    @_quiet()
    def __init__(
        self,
        uri: str,
        heard: Callable[[], None],
        experiment: str,
        name: str,
        start: int,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        data: Data | None = None,
        system_metrics: bool = False,
    ) -> None:
        file = sqlite_file(uri)
        if file is None:
            client = MlflowClient(tracking_uri=uri)
        else:
            with _alone(file.parent):
                client = MlflowClient(tracking_uri=uri)
        self._client: Any = _Heard(client, heard)
        user = {}
        with suppress(OSError, KeyError):  # a container's user may have no name
            user = {"mlflow.user": getpass.getuser()}
        source = {"mlflow.source.name": "dcm", "mlflow.source.type": "LOCAL", **user}
        folder = artifact_folder(uri, experiment)
        place = self._experiment_id(experiment, folder)
        run = self._begun_before(place, tags.get("key"))
        if run is None:
            run = self._client.create_run(place, start, {**source, **tags}, name)
        else:
            # It goes on; what it was told before stays, and cannot be told otherwise.
            self._client.update_run(run.info.run_id, "RUNNING")
            params = {key: text for key, text in params.items() if key not in run.data.params}
        self.id: str = run.info.run_id
        settings = [Param(key, value) for key, value in params.items()]
        for first in range(0, len(settings), PARAMS_PER_CALL):
            self._client.log_batch(self.id, params=settings[first : first + PARAMS_PER_CALL])
        if data is not None:
            source_of = json.dumps({"uri": data.source})
            entity = Dataset(data.name, data.digest, "local", source_of, None, data.profile)
            context = InputTag("mlflow.data.context", "optimised")
            self._client.log_inputs(self.id, [DatasetInput(entity, [context])])
        self._monitor = None
        if system_metrics:
            try:
                from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
            except ModuleNotFoundError as error:  # MLflow does without it where nobody asks
                said = f"system_metrics needs the package {error.name}: pip install {error.name}"
                raise MlflowException(said) from error
            self._monitor = SystemMetricsMonitor(self.id, resume_logging=True, tracking_uri=uri)
            self._monitor.start()

    def _begun_before(self, experiment: str, key: str | None) -> Run | None:
        """The run of a key, which is there where it goes on."""
        if not key:
            return None
        found = self._client.search_runs([experiment], f"tags.`key` = '{key}'", max_results=1)
        return found[0] if found else None

    def _experiment_id(self, name: str, folder: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, folder))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)
                if found is None:  # else another run has made it in between
                    raise
        if found.lifecycle_stage != "active":
            raise MlflowException(f"the experiment {name!r} is deleted there")
        return str(found.experiment_id)

    @_quiet()
    def log(self, points: Sequence[Point]) -> None:
        """Store metric values."""
        metrics = [Metric(each.name, each.value, each.time, each.step) for each in points]
        for first in range(0, len(metrics), METRICS_PER_CALL):
            self._client.log_batch(self.id, metrics=metrics[first : first + METRICS_PER_CALL])

    @_quiet()
    def finish(
        self,
        points: Sequence[Point],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
        status: str,
        end: int,
        note: Callable[[str], str] = str,
    ) -> None:
        """Store what is final, and say that the run has ended even where that fails."""
        try:
            self.log(points)
            told = {**tags, "mlflow.note.content": note(self.id)}
            self._client.log_batch(self.id, tags=[RunTag(*item) for item in told.items()])
            self._log_tables([path for path in artifacts if path.name in TABLES])
            for path in artifacts:
                if path.is_dir():
                    self._client.log_artifacts(self.id, str(path), path.name)
                elif path.exists():
                    self._client.log_artifact(self.id, str(path))
        finally:
            if self._monitor is not None:
                self._monitor.finish()
            self._client.set_terminated(self.id, status, end)

    def _log_tables(self, files: Sequence[Path]) -> None:
        """Tables in the form of MLflow's `log_table`, which would append what is there already."""
        tables = []
        for path in files:
            with TemporaryDirectory() as folder:
                table = Path(folder) / TABLES[path.name]
                if path.exists() and write_table(path, table):
                    self._client.log_artifact(self.id, str(table))
                    tables.append({"path": table.name, "type": "table"})
        if tables:
            self._client.set_tag(self.id, "mlflow.loggedArtifacts", json.dumps(tables))


@_quiet()
def description_of(uri: str, run: str) -> dict[str, Any]:
    """The experiment.json among the artifacts of a run."""
    with TemporaryDirectory() as folder:
        client = MlflowClient(tracking_uri=uri)
        path = client.download_artifacts(run, "experiment.json", folder)
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    return dict(found)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make processes wait for each other: two that create one database break it."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
