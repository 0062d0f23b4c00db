"""Many workers: the same results as one process, whatever becomes of workers and driver."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

import dcm
from dcm.engines import Local, engine_of
from dcm.running.run_directory import RunDirectory
from dcm.running.verify import verify

ROOT = Path(__file__).parents[2]
KILLS = ROOT / "experiments" / "faults" / "kill_workers.py"
COUNT = 15


def small(count: int = COUNT, **more: Any) -> dcm.Experiment:
    return dcm.Experiment(
        dataset=dcm.find("dataset", "arithmetic")(count=count), slots=8, lanes=4, **more
    )


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    small().run(folder)
    return folder


def read(folder: Path) -> dict[str, Any]:
    """All that a run says, whatever the order of its lines and whichever file has a content."""
    found: dict[str, Any] = {}
    for text in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
        result = json.loads(text)
        assert result["id"] not in found, "an example is there twice"
        ref = result.pop("content")
        if ref:
            with safe_open(folder / ref["file"], framework="np") as shard:
                result["bytes"] = shard.get_tensor(ref["key"]).tobytes().hex()
        found[result["id"]] = result
    curves = pq.read_table(folder / "curves.parquet").to_pydict()
    found["curves"] = sorted(zip(*curves.values(), strict=True))
    return found


def started_ranks(command: list[str]) -> list[subprocess.Popen[bytes]]:
    """A job of two ranks, as srun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    job = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            command,
            env={**job, "RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]


@pytest.mark.usefixtures("quick")
def test_any_number_of_workers_leaves_the_same_run(alone, tmp_path) -> None:
    workers, told = 3, []
    summary = small().run(
        tmp_path / "run", engine="local", workers=workers, on_progress=told.append
    )
    assert read(tmp_path / "run") == read(alone)
    assert not verify(tmp_path / "run").problems
    before = json.loads((alone / "summary.json").read_text())
    same = ("examples", "finished", "status_counts", "certified_rate", "row_steps", "evaluations")
    assert {key: summary[key] for key in same} == {key: before[key] for key in same}
    assert len(summary["workers"]) == workers
    assert sum(each["finished"] for each in summary["workers"]) == COUNT
    assert sum(each["row_steps"] for each in summary["workers"]) == summary["row_steps"]
    assert told[-1].finished == COUNT
    assert len(told[-1].workers) == workers
    for pid in (each["pid"] for each in summary["workers"]):
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("quick")
def test_a_run_whose_workers_and_driver_are_killed_ends_as_if_nothing_had_been(
    alone, tmp_path
) -> None:
    """Once each; the figures in `docs/results/scaling.md` are of more, and of all engines."""
    engine = "local"
    (tmp_path / "alone").symlink_to(alone)
    options = ["--engine", engine, "--pairs", str(COUNT), "--lanes", "4", "--out", str(tmp_path)]
    options += ["--worker-kills", "1"]
    done = subprocess.run(
        [sys.executable, str(KILLS), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    kinds = {what for _, what in told["kills"]}
    assert kinds == {"driver", "worker"}
    assert told["workers_that_outlived_their_driver"] == []
    assert read(tmp_path / engine) == read(alone)
    assert not verify(tmp_path / engine).problems


def test_ray_leaves_the_same_run(alone, tmp_path) -> None:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    small().run(tmp_path / "run", engine="ray", workers=2)
    assert read(tmp_path / "run") == read(alone)


@pytest.mark.usefixtures("quick")
def test_other_ranks_go_on_without_one_that_is_lost(alone, tmp_path) -> None:
    """As under srun, where nobody starts a rank again."""
    (tmp_path / "torchrun.state.json").write_text('{"plan": [], "done": [], "pids": []}')
    options = ["--drive", "--engine=torchrun", f"--pairs={COUNT}", "--lanes=4"]
    options.append(f"--out={tmp_path}")
    ranks = started_ranks([sys.executable, str(KILLS), *options])
    lines = tmp_path / "torchrun" / "results.jsonl"
    end = time.monotonic() + 120
    while not (lines.exists() and lines.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < end
        assert ranks[0].poll() is None
        time.sleep(0.05)
    ranks[1].send_signal(signal.SIGKILL)
    _, errors = ranks[0].communicate(timeout=120)
    ranks[1].communicate()
    assert ranks[0].returncode == 0, errors
    assert read(tmp_path / "torchrun") == read(alone)


@pytest.mark.usefixtures("quick")
def test_a_run_goes_on_with_other_workers_or_with_none(alone, tmp_path) -> None:
    def enough(progress):
        if progress.finished >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small().run(tmp_path / "run", engine="local", workers=2, on_progress=enough)
    assert 5 <= len(list(RunDirectory.open(tmp_path / "run").results())) < COUNT
    small().run(tmp_path / "run", resume=True)
    assert read(tmp_path / "run") == read(alone)


@pytest.mark.usefixtures("quick")
def test_one_engine_serves_several_runs(alone, tmp_path) -> None:
    engine = Local(workers=1)
    for name in ("one", "two"):
        small().run(tmp_path / name, engine=engine)
        assert read(tmp_path / name) == read(alone)


AXES = {"slots": [4, 8]}


def sweep_of(axes: dict[str, list[int]], folder: Path, **options: Any) -> dict[str, Any]:
    """What each cell of a sweep says."""
    rows = dcm.sweep(folder, small(6), axes, **options)
    assert [(row["state"], row["pairs"]) for row in rows] == [("done", 6)] * len(rows)
    return {row["cell"]: read(folder / row["cell"]) for row in rows}


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A sweep by one process: its folder, and what each cell says."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, sweep_of(AXES, folder)


@pytest.mark.usefixtures("quick")
def test_the_cells_of_a_sweep_are_the_same_with_workers(swept, tmp_path) -> None:
    before = swept[1]
    assert sweep_of(AXES, tmp_path / "many", engine="local", workers=2) == before
    for cell in before:
        summary = json.loads((tmp_path / "many" / cell / "summary.json").read_text())
        assert len(summary["workers"]) == 2


@pytest.mark.usefixtures("quick")
def test_ranks_work_for_a_sweep_until_it_is_over(swept, tmp_path) -> None:
    """Also for one that has nothing left to do."""
    folder, before = swept
    command = [sys.executable, "-m", "dcm", "sweep", str(folder / "slots=4")]
    command += ["--set", "slots=4,8", "--engine=torchrun", "--no-track", "--out"]
    for _ in range(2):
        ranks = started_ranks([*command, str(tmp_path / "ranks")])
        for rank in ranks:
            _, errors = rank.communicate(timeout=120)
            assert rank.returncode == 0, errors
    assert {cell: read(tmp_path / "ranks" / cell) for cell in before} == before
    for cell in before:
        summary = json.loads((tmp_path / "ranks" / cell / "summary.json").read_text())
        assert len(summary["workers"]) == 2


PLUGIN = """
import os
import attrs
import dcm

@dcm.hookimpl
def dcm_evaluators():
    return [dcm.Component("fatal", "fatal_plugin:Fatal", "ends its process on an example")]

@attrs.frozen
class Fatal(dcm.Evaluator):
    key: str

    def evaluate(self, generator, examples, outcomes):
        if examples[0].id == self.key and not os.path.exists(os.environ["FATAL_MENDED"]):
            os.abort()
        return [{"judged": True}]

    def summarise(self, evaluations):
        return {}
"""


@pytest.fixture
def fatal(tmp_path, monkeypatch):
    """Evaluators that end their process, announced so that workers find them, too."""
    info = tmp_path / "plugin" / "fatal_plugin-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fatal-plugin\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[dcm]\nfatal = fatal_plugin\n")
    (tmp_path / "plugin" / "fatal_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path / "plugin")
    monkeypatch.setenv("FATAL_MENDED", str(tmp_path / "mended"))
    dcm.plugins.installed.cache_clear()
    yield dcm.find("evaluator", "fatal")
    dcm.plugins.installed.cache_clear()


@pytest.mark.usefixtures("quick")
def test_an_example_that_ends_its_workers_is_given_up_and_tried_again_later(
    fatal, tmp_path
) -> None:
    experiment = small(3)
    key = experiment.dataset[2].id
    experiment = small(3, evaluators=(fatal(key),))
    told: list[str] = []
    summary = experiment.run(tmp_path / "run", engine="local", workers=1, warn=told.append)
    found = read(tmp_path / "run")
    assert summary["status_counts"] == {"CONVERGED": 2, "FAILED": 1}
    assert "SIGABRT" in found[key]["reason"]
    assert "alone was lost" in found[key]["reason"]
    assert len(told) >= 3
    assert all("was lost" in line for line in told)
    (tmp_path / "mended").touch()
    again = experiment.run(tmp_path / "run", engine="local", workers=1, resume=True)
    assert again["status_counts"] == {"CONVERGED": 3}


@pytest.mark.usefixtures("quick")
def test_what_a_worker_says_is_wrong_is_said_as_by_one_process(tmp_path) -> None:
    missing = dcm.find("generator", "transformers")(model=str(tmp_path / "none"), device="cpu")
    experiment = dcm.Experiment(generator=missing)
    said = []
    for options in ({}, {"engine": "local", "workers": 2}):
        with pytest.raises(dcm.DcmError) as caught:
            experiment.run(tmp_path / "run", **options)
        said.append((type(caught.value), str(caught.value)))
        assert not (tmp_path / "run").exists()
    assert said[0] == said[1]


@pytest.mark.usefixtures("quick")
def test_workers_that_all_end_at_their_start_end_the_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("dcm.running.many.WORK", "dcm.running.worker:nothing_of_that_name")
    with pytest.raises(dcm.DcmError, match=r"3 workers were lost in a row.*nothing_of_that_name"):
        small(4).run(tmp_path / "run", engine="local", workers=2)


def test_who_does_not_know_the_secret_is_turned_away(tmp_path) -> None:
    engine = Local(workers=1)

    def intrude(progress):
        if progress.looked_at is None and not strangers:
            address = engine._address
            for secret in (b"guessed", b""):
                with pytest.raises((AuthenticationError, OSError, EOFError)):
                    Client(address, authkey=secret).recv_bytes()
                strangers.append(secret)

    strangers: list[bytes] = []
    summary = small(4).run(tmp_path / "run", engine=engine, on_progress=intrude)
    assert len(strangers) == 2
    assert summary["finished"] == 4
    assert len(summary["workers"]) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "spark"}, "no engine 'spark'"),
        ({"engine": "torchrun"}, "no rank of a job"),
        ({"workers": 0}, "workers"),
    ],
)
def test_what_cannot_be_done_is_refused(options, told, tmp_path) -> None:
    with pytest.raises(dcm.UsageError, match=told):
        small(2).run(tmp_path / "run", **options)


def test_ray_that_is_not_there_is_said_with_what_to_install(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(dcm.UsageError, match=r"dynamic-context-memory\[ray\]"):
        small(2).run(tmp_path / "run", engine="ray", workers=1)


def test_workers_choose_their_cards_themselves(tmp_path) -> None:
    generator = dcm.find("generator", "nano")(device="cuda:1")
    with pytest.raises(dcm.UsageError, match="Leave out the device"):
        dcm.Experiment(generator=generator).run(tmp_path / "run", engine=engine_of("local", 2))


def test_ray_at_an_address_where_nobody_answers_is_said_at_once(tmp_path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    engine = dcm.engines.Ray(workers=1, address=address)
    with pytest.raises(dcm.UsageError, match=f"no Ray cluster at {address}"):
        small(2).run(tmp_path / "run", engine=engine)
