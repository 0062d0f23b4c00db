"""A worker that is a process of its own: starting it, and what it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from typing import IO

from dcm.engines.engine import RUN_IS_GONE, function_of

_LAST_WORDS = 2000  # bytes


class Started:
    """A process that was started, and what it wrote to its stderr."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        return self._process.wait()

    def last_words(self) -> str:
        """How it ended, in words; its connection is closed already."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.end(0)
            return "it closed its connection and did not end"
        if code < 0:
            return f"it was ended by signal {-code} ({signal.Signals(-code).name})"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _LAST_WORDS))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with status {code}"

    def end(self, seconds: float) -> None:
        """See to it that it ends, at the latest in so many seconds."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def start_process(
    work: str, name: str, address: tuple[str, int], secret: str, environment: dict[str, str]
) -> Started:
    """Start a worker that connects to `address`.

    It is a process begun anew rather than a copy of this one: its environment, which says what
    cards it sees, is there before anything is imported, and nobody's script is imported again.
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
    path = os.pathsep.join(each for each in sys.path if each)
    process = subprocess.Popen(
        [sys.executable, "-c", "from dcm.engines.process import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    told = {"work": work, "name": name, "address": address, "secret": secret}
    if process.stdin is not None:
        with suppress(OSError):  # it has ended already, which will be noticed
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
    return Started(process, errors)


def main() -> None:
    """Connect, work, and end; at once when whoever started this process ends."""
    from multiprocessing.connection import Client

    from dcm.engines.connection import Connecting, keep_alive

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is told, and ends its workers
    told = json.loads(_read_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection = Client(tuple(told["address"]), authkey=bytes.fromhex(told["secret"]))
        keep_alive(connection)
        connection.send_bytes(told["name"].encode())
    except (OSError, EOFError):
        os._exit(RUN_IS_GONE)
    try:
        function_of(told["work"])(Connecting(connection))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it is this worker's end
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # without taking libraries down, which may hang


def _read_line() -> bytes:
    # Not by `sys.stdin`, whose lock a thread that waits would keep when the process ends.
    line = b""
    while not line.endswith(b"\n") and (read := os.read(0, 1)):
        line += read
    return line


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(RUN_IS_GONE)
