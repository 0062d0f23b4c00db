"""A Python that has imported what takes seconds, and copies itself for each program to be run.

    python server.py SOCKET

Tests start some fifty processes, and each would compute for six seconds until it had torch and
transformers, and for two more until it had mlflow. A program is run in a copy of this process as
`python` would: as `__main__`, with the arguments, environment, folder and files of the process that
stands for it, to the end of the interpreter. dcm it imports anew, but for what `import dcm` does,
which sets what torch reads when it is imported. This process ends when its stdin is closed.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any


def import_what_takes_seconds() -> None:
    import dcm  # noqa: F401 - before torch, which reads what it sets

    # isort: split
    import matplotlib.pyplot  # noqa: F401
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401


def wait_for_a_program(address: str) -> dict[str, Any]:
    """Return in a copy of this process, for each program that it is to run."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if 0 in ready:
                os._exit(0)
            connection, _ = listener.accept()
            with connection:
                if not os.fork():
                    listener.close()
                    return begin(connection)


def begin(connection: socket.socket) -> dict[str, Any]:
    """Return in a copy of this process, which itself waits for that and tells how it ended."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    message = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    pid = os.fork()
    if not pid:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return json.loads(message)  # type: ignore[no-any-return]
    for file in [0, 1, 2, *files]:
        os.close(file)
    connection.sendall(b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([connection, ended], [], [])
    if ended not in ready:  # who stands for the program was killed
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(told: dict[str, Any]) -> None:
    """Be a Python that was started so."""
    executable, *arguments = told["arguments"]
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.executable, sys.argv = executable, arguments
    # As Python makes them: what is written to stderr is not kept back.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw(0, "r")), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw(1, "w")), encoding="utf-8")
    errors = {"errors": "backslashreplace", "write_through": True}
    sys.stderr = io.TextIOWrapper(raw(2, "w"), encoding="utf-8", **errors)
    sys.path[:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def raw(number: int, mode: str) -> io.FileIO:
    """One of the first three files, which outlives what wraps it."""
    return io.FileIO(number, mode, closefd=False)


def run() -> None:
    """Run what the arguments name: `-c CODE`, `-m MODULE` or a file."""
    what = sys.argv.pop(0)
    if what == "-u":
        sys.stdout.reconfigure(write_through=True)
        what = sys.argv.pop(0)
    if what == "-c":
        code = sys.argv[0]
        sys.argv[0] = "-c"
        sys.path.insert(0, "")
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), main.__dict__)  # noqa: S102 - as `python -c` does
    elif what == "-m":
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv.insert(0, what)
        sys.path.insert(0, str(Path(what).absolute().parent))
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    import_what_takes_seconds()
    become(wait_for_a_program(sys.argv[1]))
    run()
