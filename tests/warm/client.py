"""Stands in for `python`: the program runs in a copy of the server's process, see `server.py`.

It has this process's arguments, folder, environment and files, is sent the signals that come here,
is killed with this process, and this process ends as it does. The fixture `python` writes this file
with a first line that names the interpreter.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[0] + ".socket")
        folder = os.getcwd()  # noqa: PTH109 - pathlib takes longer to import than all of this
        told = {"arguments": sys.argv, "folder": folder, "environment": dict(os.environ)}
        message = json.dumps(told).encode()
        socket.send_fds(server, [len(message).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(message)
        answers = server.makefile()
        pid = int(answers.readline())
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, lambda number, _: os.kill(pid, number))
        for file in range(3):
            os.close(file)  # so that they are closed when the program closes them
        code = int(answers.readline())
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
