"""Sweeps and the protocol, tracked by a real MLflow server, as its clients read them back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm.testing.doubles import save_tiny_model
from dcm_mlflow.tracker import MlflowTracker

ROOT = Path(__file__).parents[2]
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
PAIRS = {"who wrote it": "Ada", "what colour": "red", "how many": "7"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with a new store."""
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **SETTINGS},
            start_new_session=True,
        )
    try:
        _wait_for(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()


def family(server: str, experiment: str) -> tuple[Any, Any, dict[str, Any]]:
    """The client, the one run that stands above the others, and those by their name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert len({child.info.run_name for child in children}) == len(children)
    return client, parent, {child.info.run_name: child for child in children}


def artifacts(client: Any, run: Any, folder: str | None = None) -> set[str]:
    return {item.path for item in client.list_artifacts(run.info.run_id, folder)}


def data_sets(run: Any) -> list[str]:
    return [each.dataset.name for each in run.inputs.dataset_inputs]


@pytest.fixture(scope="module")
def swept(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The arguments of a sweep of two cells that was tracked."""
    return sweep_of(tmp_path_factory.mktemp("sweep") / "grid", server, [4, 8])


def sweep_of(folder: Path, server: str, slots: list[int]) -> dict[str, Any]:
    warnings: list[str] = []
    asked: dict[str, Any] = {
        "directory": folder,
        "experiment": dcm.Experiment(dataset=dcm.find("dataset", "samples")(limit=2), max_steps=60),
        "axes": {"slots": slots, "optimizer.inner.lr": [0.1]},
        "tracker": MlflowTracker(server, experiment="sweeps"),
        "warn": warnings.append,
    }
    dcm.sweep(**asked)
    assert not warnings
    return asked


@pytest.mark.usefixtures("swept")
def test_a_sweep_is_a_run_above_those_of_its_cells(server: str) -> None:
    client, parent, cells = family(server, "sweeps")
    assert set(cells) == {f"slots={k},optimizer.inner.lr=0.1" for k in (4, 8)}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["more/cells_done"] == 2
    assert parent.data.params["sweep.slots"] == "4, 8"
    assert "slots" not in parent.data.params
    assert data_sets(parent) == ["samples"]
    assert {"sweep.json", "sweep.png", "cells.json"} <= artifacts(client, parent)
    assert "best" in parent.data.tags["mlflow.note.content"]


def test_a_cell_has_what_it_was_and_what_it_came_to(server: str, swept: dict[str, Any]) -> None:
    client, _, cells = family(server, "sweeps")
    for slots in (4, 8):
        name = f"slots={slots},optimizer.inner.lr=0.1"
        cell, folder = cells[name], swept["directory"] / name
        settings = {"slots": slots, "optimizer.inner.lr": 0.1, "dataset.limit": 2, "lanes": None}
        assert {key: json.loads(cell.data.params[key]) for key in settings} == settings
        summary = json.loads((folder / "summary.json").read_text())
        metrics = cell.data.metrics
        assert metrics["slots"] == slots
        assert metrics["certified_rate"] == summary["certified_rate"]
        assert metrics["median_steps"] == summary["median_steps"]
        assert metrics["seconds_per_pair"] == pytest.approx(summary["wall_seconds"] / 2)
        assert data_sets(cell) == ["samples"]
        assert {"examples.json", "experiment.json"} <= artifacts(client, cell)


def examples(server: str, cell: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids in the table of examples, as `load_table` reads it."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    table = mlflow.MlflowClient(server).load_table(
        cell.info.experiment_id, "examples.json", [cell.info.run_id]
    )
    assert {"question", "certified", "decoded.answer", "losses.answer"} <= set(table)
    return list(table["id"])


def test_a_sweep_that_goes_on_doubles_nothing(
    server: str, swept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, before, cells = family(server, "sweeps")
    done = swept["directory"] / "slots=4,optimizer.inner.lr=0.1"
    lines = (done / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    # As after a kill between its first and its second example.
    (done / "results.jsonl").write_text(lines[0], encoding="utf-8")
    (done / "summary.json").unlink()
    dcm.sweep(**swept)
    _, after, again = family(server, "sweeps")
    assert after.info.run_id == before.info.run_id
    assert data_sets(after) == ["samples"]
    ids = {run.info.run_name: run.info.run_id for run in again.values()}
    assert ids == {run.info.run_name: run.info.run_id for run in cells.values()}
    for cell in again.values():
        assert sorted(examples(server, cell, monkeypatch)) == sorted(
            json.loads(line)["id"] for line in lines
        )
        assert data_sets(cell) == ["samples"]


@pytest.fixture(scope="module")
def phase1a(script: Any) -> Any:
    return script("experiments/phase1a.py")


def test_the_protocol_is_a_run_with_its_gates_tables_and_figures(
    server: str, phase1a: Any, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path / "model")
    path = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"question": q, "answer": a}) for q, a in PAIRS.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    options = [
        *("--generator", "transformers", "--set", f"generator.model={model}"),
        *("--set", "generator.device=cpu", "--dataset", "jsonl", "--set", f"dataset.path={path}"),
        *("--slots", "6", "--max-steps", "40", "--attempts", "1", "--baseline-draws", "1"),
        *("--controls", "shuffled", "--control-steps", "20", "--control-slots", "6", "--force"),
        *("--set", "tracker=mlflow", "--set", f"tracker.uri={server}"),
        *("--set", "tracker.experiment=protocols", "--out", str(tmp_path / "run")),
    ]
    assert phase1a.main(options) == 0
    client, parent, stages = family(server, "protocols")
    assert set(stages) == {
        *("stage-1-question", "stage-1-answer", "stage-2", "true-k6", "shuffled-k6")
    }
    record = json.loads((tmp_path / "run" / "protocol.json").read_text())
    for gate in record["gates"]:
        name = f"{gate['stage']} {gate['name']}".replace(",", "_")  # which MLflow has no place for
        assert parent.data.metrics[f"thresholds/{name}"] == gate["threshold"]
        assert parent.data.tags[f"verdicts.{name}"] == gate["verdict"]
        if gate["measured"]["value"] is not None:
            assert parent.data.metrics[f"gates/{name}"] == gate["measured"]["value"]
    assert "gates passed" in parent.data.tags["verdict"]
    assert data_sets(parent) == ["jsonl"]
    assert {"report.txt", "report.html", "protocol.json"} <= artifacts(client, parent)
    figures = artifacts(client, parent, "report-figures")
    for name in ("curves", "controls"):
        assert {f"report-figures/{name}.png", f"report-figures/{name}.svg"} <= figures

    assert phase1a.main([*options, "--resume"]) == 0
    _, again, after = family(server, "protocols")
    assert again.info.run_id == parent.info.run_id
    assert after.keys() == stages.keys()
