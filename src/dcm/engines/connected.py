"""Workers that are processes and connect to the run by TCP."""

from __future__ import annotations

import secrets
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, wait

from dcm.engines.connection import keep_alive
from dcm.engines.engine import Engine, Gone
from dcm.engines.process import Started, start_process

# Seconds until a worker that is told to end is ended.
_PATIENCE = 10.0
_GLANCE = 0.05


class Connected(Engine):
    """An engine whose workers connect to this process, each by a `Connection`.

    Who does not know a secret of this run is turned away, and nothing is unpickled: messages are
    bytes.
    """

    def __init__(self) -> None:
        self.secret = ""
        self._work = ""
        self._listener: Listener | None = None
        self._joined: list[tuple[str, Connection]] = []
        self._connections: dict[str, Connection] = {}
        self._processes: dict[str, Started] = {}
        self._launched: set[str] = set()
        self._others: Counter[str] = Counter()

    def _listen(self, host: str) -> int:
        """Let workers connect; the port."""
        # Each run has its own: a worker of the run before is no worker of this one.
        self.secret = secrets.token_hex(32)
        self._listener = Listener((host, 0), backlog=64, authkey=bytes.fromhex(self.secret))
        threading.Thread(target=self._accept, name="dcm-accept", daemon=True).start()
        return int(self._listener.address[1])

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and listener is self._listener:
            # A stranger, or one that has gone already.
            with suppress(AuthenticationError, EOFError, ConnectionError):
                try:
                    connection = listener.accept()
                except (OSError, AttributeError):
                    if listener is not self._listener:
                        return  # it was closed
                    raise
                keep_alive(connection)
                self._joined.append((self._known_as(connection.recv_bytes().decode()), connection))

    def _known_as(self, name: str) -> str:
        """A name that no other worker has had, for one of another process."""
        if name in self._launched:
            return name
        self._others[name] += 1
        return f"{name}.{self._others[name]}"

    def _launch(self, address: tuple[str, int], environment: dict[str, str]) -> str:
        """Start a worker on this machine; its name."""
        name = self._name(len(self._launched))
        self._launched.add(name)
        self._processes[name] = start_process(self._work, name, address, self.secret, environment)
        return name

    def _name(self, number: int) -> str:
        return str(number)

    def receive(self, seconds: float) -> Iterator[tuple[str, bytes | Gone]]:
        end = time.monotonic() + seconds
        while True:
            while self._joined:
                name, connection = self._joined.pop()
                if name in self._launched and name not in self._processes:
                    connection.close()  # it ended before it was seen
                else:
                    self._connections[name] = connection
            dead = [
                name
                for name, process in self._processes.items()
                if name not in self._connections and process.ended()
            ]
            for name in dead:
                yield name, self._gone(name)
            left = max(0.0, min(_GLANCE, end - time.monotonic()))
            ready = wait(self._connections.values(), left) if self._connections else []
            if not self._connections:
                time.sleep(left)
            for name, connection in list(self._connections.items()):
                if connection in ready:
                    try:
                        message: bytes | Gone = connection.recv_bytes()
                    except (EOFError, OSError):
                        message = self._gone(name)
                    yield name, message
            if ready or dead or time.monotonic() >= end:
                return

    def _gone(self, name: str) -> Gone:
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.close()
        process = self._processes.pop(name, None)
        if process is None:
            return Gone("its connection was lost")
        why = process.last_words()
        process.end(0)
        return Gone(why)

    def send(self, worker: str, message: bytes) -> None:
        connection = self._connections.get(worker)
        if connection is not None:
            with suppress(OSError):  # `receive` will tell
                connection.send_bytes(message)

    @property
    def workers(self) -> int:
        return len({*self._connections, *self._processes, *(name for name, _ in self._joined)})

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for connection in [*self._connections.values(), *(each for _, each in self._joined)]:
            connection.close()
        end = time.monotonic() + _PATIENCE
        for process in self._processes.values():
            process.end(max(0.1, end - time.monotonic()))
        self._connections, self._processes, self._joined = {}, {}, []

    @abstractmethod
    def replace(self, worker: str) -> None: ...
