"""`dcm paraphrase` against `transformers serve`, killed and restarted in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import dcm_nano

KEY = "sk-very-secret-0123456789"
_TEMPLATE = (
    "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}1. {% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model: the folder that DCM_TEST_CHAT_MODEL names, or the bundled model with a chat
    template, whose replies are real and mostly useless."""
    if named := os.environ.get("DCM_TEST_CHAT_MODEL"):
        return Path(named)
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(Path(dcm_nano.__file__).parent / "model", folder)
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    return folder


class Serve:
    """A `transformers serve` process at an address of this machine."""

    def __init__(self, python: str, model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.python, self.model, self.log = python, model, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self.python, "-m", "transformers.cli.transformers", "serve", str(self.model)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1)
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(python: str, model: Path, tmp_path: Path) -> Iterator[Serve]:
    serve = Serve(python, model, tmp_path / "serve.log")
    serve.start()
    yield serve
    serve.kill()


def replies(folder: Path) -> list[bytes]:
    path = folder / "variants.replies.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def until(enough: int, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for so many whole kept replies."""
    for _ in range(2400):
        if sum(line.endswith(b"\n") for line in replies(folder)) >= enough:
            return
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}")
        time.sleep(0.05)
    raise AssertionError("too slow")


@pytest.mark.timeout(280)
def test_whatever_is_killed_no_reply_is_lost_or_asked_for_twice(
    server: Serve, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    command = [
        sys.executable, "-c", "from dcm.cli import main; main()", "paraphrase",
        "--set", "dataset.limit=4", "--n", "2", "--attempts", "1", "--concurrency", "1",
        "--max-tokens", "24", "--retries", "30",
        "--endpoint", f"http://127.0.0.1:{server.port}/v1", "--model", str(model),
        "--key-variable", "A_KEY", "--out", "variants.jsonl",
    ]  # fmt: skip
    environment = {**os.environ, "A_KEY": KEY, "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    first = start()
    until(2, folder, first)
    first.kill()
    first.communicate()
    kept = replies(folder)
    assert not (folder / "variants.jsonl").exists()

    second = start()
    until(len(kept) + 2, folder, second)
    server.kill()  # in the middle of what it is asked now
    server.start()
    output, _ = second.communicate(timeout=200)
    # Replies that are no paraphrases are no failure of the requests.
    assert second.returncode == 0, output.decode()

    assert replies(folder)[: len(kept)] == kept
    found = [json.loads(line) for line in replies(folder)]
    assert len({each["key"] for each in found}) == len(found) == 8
    assert all(each["input_tokens"] > 0 and each["output_tokens"] > 0 for each in found)
    lines = (folder / "variants.jsonl").read_text(encoding="utf-8").splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 4
    summary = json.loads((folder / "variants.summary.json").read_text(encoding="utf-8"))
    assert summary["kept"] == len(kept)
    assert summary["requests"] + summary["kept"] == 8
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in each for each in [*written, output])
