"""Runs tracked with MLflow, as MLflow itself reads them back."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DcmError, UsageError
from dcm_mlflow.tracker import MlflowTracker

# mlflow's tables use what SQLAlchemy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")


def component(kind: str, name: str, /, **params: Any) -> dict[str, Any]:
    owner = {"distribution": "dynamic-context-memory", "version": "0.1.0"}
    return {"kind": kind, "name": name, **owner, "params": params}


DESCRIPTION: Mapping[str, Any] = {
    "generator": component("generator", "nano"),
    "dataset": component("dataset", "squad", path="x" * 7000, limit=100, name="dev"),
    "optimizer": component(
        "optimizer", "restarts", attempts=5, inner=component("optimizer", "adam", lr=None)
    ),
    "evaluators": [component("evaluator", "recall", k=[1, 5])],
    "slots": 4,
    "seed": 0,
    "versions": {"dynamic-context-memory": "0.1.0", "torch": "2.9"},
    "git_commit": "0123abcd",
}
SUMMARY = {
    "converged_rate": 0.75,
    "progress/exact_rate": 0.5,
    "mean_loss_ratio": float("nan"),
    "status_counts": {"CONVERGED": 3, "MAX STEPS!": 1},
    "device": "cpu",
    "complete": True,
    "nothing": None,
}
CURVE = [(step, 6.0 / step) for step in range(1, 3001)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store for the whole module, in a folder that does not exist, since a new one takes
    seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'a folder' / 'runs.db'}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "results.jsonl").write_text('{"id": "one"}\n', encoding="utf-8")
    (folder / "content").mkdir()
    (folder / "content" / "shard").write_bytes(b"\x00\x01")
    return folder


def track(uri: str, name: str, artifacts: Sequence[Path] = (), failed: bool = False) -> None:
    run = MlflowTracker(uri, experiment="tests").start(name, DESCRIPTION)
    for step in range(1, 5):
        run.metrics({"progress/exact_rate": 0.2 * step, "progress/finished": float(step)}, step)
    run.curve("loss/answer", CURVE)
    run.finish({} if failed else SUMMARY, artifacts, failed)


def stored(uri: str, name: str, experiment: str = "tests") -> Any:
    """The one run of a name, and the client that found it."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    query = f"attributes.run_name = '{name}'"
    (run,) = client.search_runs([found.experiment_id], query)
    return client, run


@pytest.fixture(scope="module")
def first(uri: str, files: Path) -> str:
    """The name of a tracked run."""
    artifacts = [files / "results.jsonl", files / "content", files / "missing.json"]
    track(uri, "first", artifacts)
    return "first"


def test_settings_are_params_named_as_the_command_line_names_them(uri: str, first: str) -> None:
    _, run = stored(uri, first)
    assert run.data.params == {
        "generator": "nano",
        "dataset": "squad",
        "dataset.path": "x" * 6000,
        "dataset.limit": "100",
        "dataset.name": "dev",
        "optimizer": "restarts",
        "optimizer.attempts": "5",
        "optimizer.inner": "adam",
        "optimizer.inner.lr": "null",
        "evaluators.0": "recall",
        "evaluators.0.k": "[1, 5]",
        "slots": "4",
        "seed": "0",
    }


def test_origin_and_texts_are_tags(uri: str, first: str) -> None:
    _, run = stored(uri, first)
    own = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert own == {
        "versions.dynamic-context-memory": "0.1.0",
        "versions.torch": "2.9",
        "git_commit": "0123abcd",
        "device": "cpu",
        "complete": "true",
    }


def test_final_numbers_are_the_last_values(uri: str, first: str) -> None:
    _, run = stored(uri, first)
    assert run.data.metrics == {
        "more/converged_rate": 0.75,
        "progress/exact_rate": 0.5,  # the summary's, not the last one on the way
        "progress/finished": 4.0,
        "status_counts/CONVERGED": 3.0,
        "status_counts/MAX STEPS_": 1.0,
        "curves/loss/answer": 6.0 / 3000,
    }
    assert run.info.status == "FINISHED"


def test_a_curve_of_thousands_of_points_is_kept_whole(uri: str, first: str) -> None:
    client, run = stored(uri, first)
    history = client.get_metric_history(run.info.run_id, "curves/loss/answer")
    assert [(point.step, point.value) for point in history] == CURVE


def test_progress_has_its_steps(uri: str, first: str) -> None:
    client, run = stored(uri, first)
    history = client.get_metric_history(run.info.run_id, "progress/finished")
    assert [(point.step, point.value) for point in history] == [(n, float(n)) for n in range(1, 5)]


def test_artifacts_are_kept_beside_the_database(
    uri: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # found from any folder
    client, run = stored(uri, first)
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / "tests"
    assert run.info.artifact_uri == f"{folder.as_uri()}/{run.info.run_id}/artifacts"
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names == {"results.jsonl", "content", "examples.json"}
    results = client.download_artifacts(run.info.run_id, "results.jsonl", str(tmp_path))
    assert Path(results).read_text(encoding="utf-8") == '{"id": "one"}\n'
    shard = client.download_artifacts(run.info.run_id, "content/shard", str(tmp_path))
    assert Path(shard).read_bytes() == b"\x00\x01"


def test_a_failed_run_is_failed_and_keeps_what_it_told(uri: str) -> None:
    track(uri, "broken", failed=True)
    _, run = stored(uri, "broken")
    assert run.info.status == "FAILED"
    assert run.data.metrics["progress/finished"] == 4.0


def test_two_runs_are_comparable(uri: str, first: str) -> None:
    track(uri, "second")
    (_, one), (_, two) = stored(uri, first), stored(uri, "second")
    assert one.info.run_id != two.info.run_id
    assert one.info.experiment_id == two.info.experiment_id
    assert one.data.metrics.keys() == two.data.metrics.keys()
    assert one.data.params.keys() == two.data.params.keys()


def test_a_run_is_named_by_the_tracker_if_it_says_so(uri: str) -> None:
    tracker = MlflowTracker(uri, experiment="tests", run_name="chosen")
    tracker.start("given", DESCRIPTION).finish({}, [], failed=False)
    stored(uri, "chosen")


def test_no_call_holds_more_than_a_server_takes(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    sizes: list[tuple[int, int]] = []
    log_batch = MlflowClient.log_batch

    def spy(self: Any, run: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        sizes.append((len(metrics), len(params)))
        log_batch(self, run, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    many = {f"setting{number}": number for number in range(250)}
    run = MlflowTracker(uri, experiment="tests").start("many", many)
    run.curve("loss", CURVE)
    run.finish({}, [], failed=False)
    assert max(metrics for metrics, _ in sizes) == 1000
    assert max(params for _, params in sizes) == 100
    client, found = stored(uri, "many")
    assert found.data.params == {key: str(value) for key, value in many.items()}
    assert len(client.get_metric_history(found.info.run_id, "curves/loss")) == len(CURVE)


def test_names_are_made_legal(uri: str) -> None:
    run = MlflowTracker(uri, experiment="tests").start("odd", {"a=b": 1})
    run.metrics({"/../x//y%": 1.0, "": 2.0, "n" * 300: 3.0}, 1)
    run.finish({}, [], failed=False)
    _, found = stored(uri, "odd")
    assert found.data.metrics == {"x/y_": 1.0, "_": 2.0, "n" * 250: 3.0}
    assert found.data.params == {"a_b": "1"}


def test_a_run_goes_on_where_its_store_was_meant_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names the store; a later change of folder changes nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///sub/store.db")
    run = MlflowTracker().start("one", {})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run.finish({}, [], failed=False)
    stored(f"sqlite:///{tmp_path}/sub/store.db", "one", experiment="dcm")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "there"),
    [
        ("mlflow.db", "no scheme"),
        ("./mlruns", "no scheme"),
        ("", "no scheme"),
        ("sqlite://mlflow.db", "three slashes"),
        ("sqlite:mlflow.db", "three slashes"),
        ("sqlite:///", "three slashes"),
    ],
)
def test_what_is_no_address_is_refused_at_once(uri: str, there: str) -> None:
    with pytest.raises(UsageError, match=there) as caught:
        MlflowTracker(uri)
    assert "Use sqlite:///mlflow.db" in str(caught.value)


def test_an_environment_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlflow.db")
    with pytest.raises(UsageError, match="no scheme"):
        MlflowTracker().start("run", {})


@pytest.mark.parametrize("kind", ["folder", "text", "under a file"])
def test_an_unusable_file_is_refused_when_the_run_starts(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "store.db"
    if kind == "folder":
        file.mkdir()
    else:
        file.write_text("no database at all, but long enough to be looked at " * 9)
    place = file / "more.db" if kind == "under a file" else file
    with pytest.raises(DcmError, match="cannot be used") as caught:
        MlflowTracker(f"sqlite:///{place}").start("run", {})
    assert str(place) in str(caught.value)
    assert "Name another file" in str(caught.value)


def test_a_server_that_is_not_there_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = MlflowTracker(f"http://user:secret@127.0.0.1:{port}").start("run", {})
    assert run.hint == f"open http://user:***@127.0.0.1:{port}"
    with pytest.raises(DcmError, match=f"tracked at http://user:.*127.0.0.1:{port}") as caught:
        run.finish({}, [], failed=False)
    assert "secret" not in str(caught.value)
    assert "name another in the tracker's field 'uri'" in str(caught.value)
    run.metrics({"late": 1.0}, 1)
    assert capfd.readouterr() == ("", "")


def test_a_store_that_breaks_on_the_way_loses_numbers_but_not_the_end(uri: str) -> None:
    run = MlflowTracker(uri, experiment="tests").start("breaks", {})
    run.metrics({"huge": 1.0}, 2**70)  # no database holds such a step
    with pytest.raises(DcmError, match="not wholly"):
        run.finish({"rate": 0.5}, [], failed=False)
    _, found = stored(uri, "breaks")
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"more/rate": 0.5}


def test_a_deleted_experiment_is_named(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.create_experiment("gone"))
    run = MlflowTracker(uri, experiment="gone").start("run", {})
    with pytest.raises(DcmError, match="'gone' is deleted"):
        run.finish({}, [], failed=False)


def test_processes_that_make_one_store_at_a_time_wait_for_each_other(
    tmp_path: Path, python: str
) -> None:
    script = (
        "import sys; from dcm_mlflow.tracker import MlflowTracker;"
        "MlflowTracker('sqlite:///new.db').start(sys.argv[1], {}).finish({}, [], failed=False)"
    )
    command = [python, "-c", script]
    names = ["one", "other"]
    started = [subprocess.Popen([*command, name], cwd=tmp_path) for name in names]
    assert [each.wait() for each in started] == [0, 0]
    for name in names:
        stored(f"sqlite:///{tmp_path}/new.db", name, experiment="dcm")


QUIET = """
import json, sys
import dcm
tracker = dcm.find("tracker", "mlflow")()
assert dcm.build(dcm.describe(tracker)) == tracker
assert "mlflow" not in sys.modules, "the component imports mlflow"
seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        seen.append(event)
    if event == "subprocess.Popen" and arguments[0] != "uname":  # Python's `platform` runs it
        seen.append(str(arguments[0]))
sys.addaudithook(watch)
run = tracker.start("run", {"seed": 0})
assert "mlflow.tracking" not in sys.modules, "the start waits for mlflow"
run.metrics({"finished": 1.0}, 1)
run.finish({"rate": 0.5}, [], failed=False)
assert "mlflow" in sys.modules
open("seen.json", "w").write(json.dumps([seen, run.hint]))
"""


def test_a_local_run_is_lazy_silent_and_alone(tmp_path: Path) -> None:
    """No connection, no other program, nothing on the terminal, in a user's environment."""
    of_tests = ("PYTEST_", "MLFLOW_", "DO_NOT_TRACK", "CI", "GITHUB_", "PYTHONWARNINGS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(of_tests)}
    done = subprocess.run(
        [sys.executable, "-c", QUIET],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    seen, hint = json.loads((tmp_path / "seen.json").read_text())
    assert seen == []
    assert hint == "mlflow ui --backend-store-uri sqlite:///mlflow.db"
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "seen.json"}
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert list(database.execute("SELECT name, status FROM runs")) == [("run", "FINISHED")]


def test_the_hint_names_a_store_elsewhere_in_full_and_quoted(uri: str) -> None:
    run = MlflowTracker(uri, experiment="tests").start("hint", {})
    assert run.hint == f"mlflow ui --backend-store-uri '{uri}'"
    run.finish({}, [], failed=False)


def test_the_component_is_found_by_its_name() -> None:
    assert dcm.find("tracker", "mlflow") is MlflowTracker


def test_a_run_that_goes_on_is_one_run_with_one_table(
    uri: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # where load_table looks
    for rate in (0.25, 0.75):
        tracker = MlflowTracker(uri, experiment="tests")
        run = tracker.start("again", {**DESCRIPTION, "key": "0123abcd"})
        summary = {"certified_rate": rate, "finished": 4, "wall_seconds": 8.0}
        run.finish(summary, [files / "results.jsonl"], failed=rate < 0.5)
    client, again = stored(uri, "again")
    assert again.info.status == "FINISHED"
    assert again.data.metrics["certified_rate"] == 0.75
    assert again.data.metrics["seconds_per_pair"] == 2.0
    table = client.load_table(again.info.experiment_id, "examples.json", [again.info.run_id])
    assert list(table["id"]) == ["one"]
    assert "**75 % of 4 pairs certified**" in again.data.tags["mlflow.note.content"]


def test_children_stand_below_their_run(uri: str) -> None:
    parent = MlflowTracker(uri, experiment="tests").start("parent", DESCRIPTION)
    parent.children.start("child", DESCRIPTION).finish(SUMMARY, [], failed=False)
    parent.finish({}, [], failed=False)
    (_, above), (_, below) = stored(uri, "parent"), stored(uri, "child")
    assert below.data.tags["mlflow.parentRunId"] == above.info.run_id


def test_the_data_set_is_an_input(uri: str) -> None:
    seen = {"fingerprints": {"examples": {"count": 3, "sha256": "ab" * 32}}}
    run = MlflowTracker(uri, experiment="tests").start("data", {**DESCRIPTION, **seen})
    run.finish({}, [], failed=False)
    _, stored_run = stored(uri, "data")
    (found,) = stored_run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("squad", "ab" * 8)


@pytest.mark.parametrize(
    ("described", "name"),
    [
        ({"dataset": component("dataset", "squad", limit=3)}, "squad"),
        ({"sweep": {"dataset": "squad, arc"}, "slots": 4}, "squad, arc"),
    ],
)
def test_a_run_above_others_names_its_data_set(uri: str, described: Any, name: str) -> None:
    """Nobody has looked at its examples, which are those of the runs below it."""
    MlflowTracker(uri, experiment="tests").start(name, described).finish({}, [], failed=False)
    _, run = stored(uri, name)
    (found,) = run.inputs.dataset_inputs
    assert found.dataset.name == name
    assert "num_rows" not in (found.dataset.profile or "")


def test_the_experiment_of_a_tracked_run_is_read_back(uri: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text('{"slots": 4}', encoding="utf-8")
    tracker = MlflowTracker(uri, experiment="tests")
    tracker.start("kept", DESCRIPTION).finish({}, [tmp_path / "experiment.json"], failed=False)
    _, run = stored(uri, "kept")
    assert tracker.description_of(run.info.run_id) == {"slots": 4}
    with pytest.raises(DcmError, match="was asked for"):
        tracker.description_of("0" * 32)
