"""How long does a run take whose MLflow server is mute, refuses, or is killed in the middle?

    OMP_NUM_THREADS=1 python experiments/faults/trackers.py -- --dataset squad \\
        --set dataset.path=dev-v2.0.json --set dataset.limit=12 --set slots=8

The same `dcm run`, each in a process of its own: without a tracker; with a server that works; with
one that accepts and never answers; at a port where nobody listens; with a server that SIGKILL ends
once the run has begun there. `after` is from the writing of summary.json to the end of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", nargs="*", help="what `dcm run` is given, after --")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    asked = parser.parse_args()
    found = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        found["none"] = run(folder / "none", [*asked.settings, "--no-track"])
        with mute() as port:
            found["mute"] = run(folder / "mute", [*asked.settings, *tracked(port)])
        with mute() as port:
            pass  # and nobody listens there any more
        found["refusing"] = run(folder / "refusing", [*asked.settings, *tracked(port)])
        with server(folder) as (port, _):
            found["working"] = run(folder / "working", [*asked.settings, *tracked(port)])
        with server(folder) as (port, process):

            def kill() -> None:
                while not running(folder / "server.db"):
                    time.sleep(0.05)
                os.killpg(process.pid, signal.SIGKILL)

            found["killed"] = run(folder / "killed", [*asked.settings, *tracked(port)], kill)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


def run(
    folder: Path, settings: list[str], meanwhile: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """What came of a run."""
    command = [sys.executable, "-m", "dcm", "run", "--out", str(folder), *settings]
    began = time.time()
    process = subprocess.Popen(
        command, env=ENVIRONMENT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    meanwhile()
    _, said = process.communicate()
    ended = time.time()
    done = folder / "summary.json"
    after = round(ended - done.stat().st_mtime, 1) if done.exists() else None
    warned = [line for line in said.splitlines() if line.startswith(("Warning", "Error"))]
    found = {"status": process.returncode, "seconds": round(ended - began, 1), "after": after}
    print(f"{folder.name}: {found}\n  {warned}", flush=True)
    return {**found, "warned": warned}


def tracked(port: int) -> list[str]:
    return ["--set", f"tracker.uri=http://127.0.0.1:{port}"]


@contextmanager
def mute() -> Iterator[int]:
    """The port of a server that accepts and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield listening.getsockname()[1]


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port of an MLflow server, and its process."""
    with mute() as port:
        pass
    (folder / "server.db").unlink(missing_ok=True)
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    files = ["--artifacts-destination", str(folder / "files"), "--workers", "1"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), *store, *files],
            env=ENVIRONMENT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not answers(port):
            if process.poll() is not None:
                raise SystemExit((folder / "server.log").read_text()[-2000:])
            time.sleep(0.3)
        yield port, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    with suppress(URLError, OSError):
        return bool(urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200)
    return False


def running(database: Path) -> bool:
    """Whether a run has begun in a server's store."""
    with suppress(sqlite3.Error), sqlite3.connect(database) as opened:
        return bool(list(opened.execute("SELECT 1 FROM runs WHERE status = 'RUNNING'")))
    return False


if __name__ == "__main__":
    main()
