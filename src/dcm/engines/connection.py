"""A worker's side of its connection to the run."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from multiprocessing.connection import Connection

from dcm.engines.engine import Link


class Connecting(Link):
    """A worker's side of its connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: bytes) -> None:
        self._connection.send_bytes(message)

    def receive(self) -> bytes:
        try:
            return self._connection.recv_bytes()
        except OSError as error:
            raise EOFError from error


def keep_alive(connection: Connection) -> None:
    """Notice within a minute that the other machine is gone, and let short messages go at once."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
