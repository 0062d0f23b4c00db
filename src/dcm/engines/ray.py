"""Ray: an actor for each GPU of a cluster, or some actors on its CPUs."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs

from dcm.engines.engine import Engine, Gone, Link, function_of
from dcm.errors import UsageError
from dcm.fields import whole

_GROW_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_DONE = True
_AHEAD = 2  # messages that an actor keeps for the run


@attrs.define(slots=False, eq=False)
class Ray(Engine):
    """An actor for each GPU of a Ray cluster, or `workers` actors.

    Without a number of workers GPUs of nodes that join later are used, too; with one, actors for
    which there is no room yet wait until there is.

    Attributes:
        workers_wanted: how many; None for as many as there are GPUs.
        address: of the cluster, "auto" or "host:6379", say; None for the one of RAY_ADDRESS, else
            for a cluster on this machine alone that ends with the run.
        gpus_per_worker: GPUs that each actor reserves and sees, a part of one perhaps; None for
            one where the cluster has any.
        cpus_per_worker: cores that each actor reserves.
    """

    workers_wanted: int | None = attrs.field(
        default=None, alias="workers", validator=whole(1, optional=True)
    )
    address: str | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: int = attrs.field(default=1, validator=whole(0))

    def __attrs_post_init__(self) -> None:
        self._work = ""
        self._gpus: float | None = None
        self._actors: dict[str, Any] = {}
        self._waiting: dict[Any, str] = {}
        self._count = 0
        self._looked_at = 0.0
        self._ours = False

    def start(self, work: str) -> None:
        try:
            import ray
        except ImportError as error:
            do = "Install it: pip install 'dynamic-context-memory[ray]'"
            asked = "the engine ray needs the package ray"
            raise UsageError(asked, "It is not there", do) from error
        self._work = work
        if not ray.is_initialized():
            self._connect(ray)
        self._gpus = self.gpus_per_worker
        if self._gpus is None:
            self._gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
        count = self._room() if self.workers_wanted is None else self.workers_wanted
        if not count:
            asked = "workers were asked for, and the cluster has no GPU for each"
            raise UsageError(asked, "", "Say how many: workers=N, or --workers N")
        self._looked_at = time.monotonic()
        for _ in range(count):
            self._begin()

    def _connect(self, ray: Any) -> None:
        """Connect to the cluster, or make one of this machine."""
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM) if main else None
        address = self.address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {"address": address}
        if address is None:
            # A machine of few cores may still have so many processes.
            cpus = max((self.workers_wanted or 1) * self.cpus_per_worker, os.cpu_count() or 1)
            options = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        elif why := _unreachable(address):
            # Ray itself would try for minutes.
            raise UsageError(f"there is no Ray cluster at {address}", why, "Check the address")
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            asked = f"there is no Ray cluster at {address or 'this machine'}"
            raise UsageError(asked, str(error).partition("\n")[0], "Check the address") from error
        finally:
            if main and handler is not None:
                signal.signal(signal.SIGTERM, handler)  # Ray sets its own
        self._ours = True

    def _room(self) -> int:
        """How many workers the cluster's GPUs are enough for."""
        import ray

        if not self._gpus:
            return 0
        return int(float(ray.cluster_resources().get("GPU", 0)) / self._gpus)

    def _begin(self) -> None:
        import ray

        name = str(self._count)
        self._count += 1
        actor = (
            ray.remote(_Actor)
            .options(
                num_gpus=self._gpus,
                num_cpus=self.cpus_per_worker,
                max_concurrency=4,
                max_restarts=0,
            )
            .remote()
        )
        self._actors[name] = actor
        self._waiting[actor.work.remote(self._work)] = name
        self._waiting[actor.next.remote()] = name

    def receive(self, seconds: float) -> Iterator[tuple[str, bytes | Gone]]:
        import ray

        if self.workers_wanted is None and time.monotonic() - self._looked_at > _GROW_SECONDS:
            self._looked_at = time.monotonic()
            for _ in range(self._room() - len(self._actors)):
                self._begin()
        ready, _ = ray.wait(list(self._waiting), num_returns=1, timeout=seconds, fetch_local=False)
        for future in ready:
            name = self._waiting.pop(future)
            if name not in self._actors:
                continue
            try:
                message = ray.get(future)
            except Exception as error:  # noqa: BLE001 - whatever it is, the actor is no more
                yield name, self._gone(name, _words(error))
                continue
            if message is _DONE:
                continue  # what it said last is still to come
            if message is None:
                yield name, self._gone(name, "it ended")
            else:
                self._waiting[self._actors[name].next.remote()] = name
                yield name, message

    def _gone(self, name: str, why: str) -> Gone:
        import ray

        ray.kill(self._actors.pop(name))
        self._waiting = {future: each for future, each in self._waiting.items() if each != name}
        return Gone(why)

    def send(self, worker: str, message: bytes) -> None:
        if worker in self._actors:
            self._actors[worker].put.remote(message)

    def replace(self, worker: str) -> None:
        self._begin()

    @property
    def workers(self) -> int:
        return len(self._actors)

    def close(self) -> None:
        if not self._work:
            return
        import ray

        for actor in self._actors.values():
            ray.kill(actor)
        self._actors, self._waiting = {}, {}
        if self._ours:
            ray.shutdown()


def _unreachable(address: str) -> str | None:
    """Why nobody answers at "host:port"; None where somebody does, or it is no such address."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            return None
    except (OSError, OverflowError) as error:
        return str(error)


class _Actor:
    """A worker: one thread works, others hand over what it says and is told."""

    def __init__(self) -> None:
        self._out: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._in: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def work(self, work: str) -> bool:
        function_of(work)(_Queues(self._in, self._out))
        self._out.put(None)
        return _DONE

    def next(self) -> bytes | None:
        return self._out.get()

    def put(self, message: bytes) -> None:
        self._in.put(message)


class _Queues(Link):
    def __init__(self, told: queue.SimpleQueue[bytes], said: queue.Queue[bytes | None]) -> None:
        self._told, self._said = told, said

    def send(self, message: bytes) -> None:
        self._said.put(message)

    def receive(self) -> bytes:
        return self._told.get()


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first sentence: Ray goes on with what may have been the cause.
    return lines[-1].partition(". ")[0] if lines else type(error).__name__
