"""What a worker does: load the model once, take examples as it has room, send what became of them.

Messages are `dcm.engines.message`s. The worker says `hello`, is told the experiment, says that it
is `ready`; then `take` asks for examples, `finished` brings lines, contents and curves, `stats`
says how far it is.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from dcm.engines import RUN_IS_GONE, Link
from dcm.engines.message import pack, unpack
from dcm.errors import DcmError
from dcm.example import Example
from dcm.outcome import Outcome
from dcm.running.curves import curve_rows
from dcm.running.fingerprints import of_example
from dcm.running.looking import look_at_examples
from dcm.running.solving import Facts, Solving

if TYPE_CHECKING:
    from torch import Tensor

# Messages that wait to be sent: with them the solver goes on while the run is busy with what came
# at once from all workers, and memory stays flat.
_AHEAD = 16
_TOGETHER = 16 << 20  # bytes of contents in a message: each becomes a file, which takes time, too
_STATS_SECONDS = 0.5
_SPARE = 8  # examples beside those in lanes


def work(link: Link) -> None:
    """Work for a run until it has nothing more."""
    from dcm.running.experiment import Experiment

    way = _Way(link)
    way.send({"kind": "hello", "host": socket.gethostname(), "pid": os.getpid()})
    try:
        told = way.wait()
        # Who runs it has been asked whether code that comes with the model may run.
        experiment = Experiment.build(told["experiment"], trust_remote_code=True)
        way.send({"kind": "ready", **attrs.asdict(Facts.of(experiment))})
        if told["look"]:
            looked = look_at_examples(
                experiment,
                lambda count, at: way.send({"kind": "looking", "count": count, "at": at}),
            )
            way.send({"kind": "looked", **attrs.asdict(looked)})
        _Worker(way, experiment).run()
    except DcmError as error:
        parts = {"asked": error.asked, "there": error.there, "do": error.do}
        way.send({"kind": "error", "type": type(error).__name__, **parts})
    way.flush()


class _Way:
    """Sends and receives in threads, so that the solver waits for neither."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._out: queue.Queue[tuple[dict[str, Any], dict[str, Tensor]] | None]
        self._out = queue.Queue(_AHEAD)
        self._in: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.waited = 0.0
        self._sender = threading.Thread(target=self._send, name="dcm-send", daemon=True)
        self._sender.start()
        threading.Thread(target=self._receive, name="dcm-receive", daemon=True).start()

    def send(self, value: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> None:
        """Send a message soon; waits while too many wait. It must not change any more."""
        began = time.perf_counter()
        self._out.put((value, tensors or {}))
        self.waited += time.perf_counter() - began

    @property
    def busy(self) -> bool:
        """Whether messages wait."""
        return not self._out.empty()

    def wait(self) -> dict[str, Any]:
        """The next message."""
        began = time.perf_counter()
        told = self._in.get()
        self.waited += time.perf_counter() - began
        return told

    def poll(self) -> dict[str, Any] | None:
        """The next message, if one is there."""
        try:
            return self._in.get_nowait()
        except queue.Empty:
            return None

    def flush(self) -> None:
        """Wait until all is sent."""
        self._out.put(None)
        self._sender.join()

    def _send(self) -> None:
        try:
            while (message := self._out.get()) is not None:
                # Here, and not where it is sent: contents are copied while the GPU computes.
                self._link.send(pack(*message))
        except OSError:
            os._exit(RUN_IS_GONE)  # the run is gone
        except Exception:  # noqa: BLE001 - nobody would ever hear of this worker again
            traceback.print_exc()
            os._exit(1)

    def _receive(self) -> None:
        try:
            while True:
                self._in.put(unpack(self._link.receive())[0])
        except EOFError:
            os._exit(RUN_IS_GONE)  # the run is gone, and what is computed is nobody's


class _Worker:
    """Solves what it is given."""

    def __init__(self, way: _Way, experiment: Any) -> None:
        self.way = way
        self.solving = Solving(experiment, None)
        self.supply = _Supply(way, self.solving, self.flush)
        self.finished: list[Outcome] = []
        self.bytes = 0
        self.told_at = 0.0

    def run(self) -> None:
        self.began = time.perf_counter()
        self.way.waited = 0.0
        # Where the last rows that there were failed in a step, the solver ends before the run does.
        while not self.supply.over:
            for outcome in self.solving.outcomes(self.supply, self.on_step):
                self.add(outcome)
            self.flush()
        self.tell()

    def add(self, outcome: Outcome) -> None:
        self.supply.held -= 1
        self.finished.append(outcome)
        if outcome.content is not None:
            self.bytes += outcome.content.nbytes
        if self.bytes >= _TOGETHER:
            self.flush()

    def on_step(self) -> None:
        self.flush()
        if time.perf_counter() - self.told_at > _STATS_SECONDS and not self.way.busy:
            self.tell()

    def flush(self) -> None:
        """Send what is finished."""
        unreadable, self.solving.unreadable = self.solving.unreadable, []
        outcomes, self.finished, self.bytes = [*self.finished, *unreadable], [], 0
        if not outcomes:
            return
        kept = [each for each in outcomes if each.content is not None]
        lines = [
            {**self.solving.result(each), "example": of_example(each.example)} for each in outcomes
        ]
        tensors = {
            f"content/{each.example.id}": each.content for each in kept if each.content is not None
        }
        for mode, vector in self.solving.modes.as_dict().items():
            tensors[f"mode/{mode}"] = vector.detach().cpu().clone()
        value = {"kind": "finished", "lines": lines, "curves": curve_rows(kept)}
        self.way.send({**value, "layout": self.solving.modes.layout}, tensors)

    def tell(self) -> None:
        """Say how far it is."""
        self.told_at = time.perf_counter()
        self.way.send(
            {
                "kind": "stats",
                **attrs.asdict(self.solving.stats),
                "through": self.supply.through,
                "seconds": self.told_at - self.began,
                "waited": self.way.waited,
                "peak_memory_bytes": self.solving.peak_memory(),
            }
        )


class _Supply(Iterator[Example]):
    """The examples that the run gives this worker.

    It stops where there is none now, and goes on when it is asked again: the solver goes on with
    what it has. Only where it has nothing this waits, until the run has something or is over.

    Args:
        way: to the run.
        solving: reads the examples.
        before_waiting: called before this waits, since the run may wait for what is finished.

    Attributes:
        held: how many examples were given out and are not finished.
        over: whether there will be no more.
    """

    def __init__(self, way: _Way, solving: Solving, before_waiting: Callable[[], None]) -> None:
        self._way, self._solving, self._before_waiting = way, solving, before_waiting
        self._ready: deque[tuple[int, str]] = deque()
        self._asked = False
        self._got = 0
        self.over = False
        self.held = 0

    @property
    def through(self) -> int:
        """How many of the examples that it got need no lane any more."""
        waiting = len(self._ready) + self.held - self._solving.stats.uncertified
        return self._got - waiting

    def __next__(self) -> Example:
        while True:
            if not self._ready and not self._take():
                raise StopIteration
            place, key = self._ready.popleft()
            example = self._solving.example(place, key)
            if example is not None:
                self.held += 1
                return example

    def _take(self) -> bool:
        """Whether there are examples."""
        while not self._ready and not self.over:
            if not self._asked:
                lanes = self._solving.stats.lanes
                # Those that wait to be certified, for many steps perhaps, need no lane any more.
                running = self.held - self._solving.stats.uncertified
                room = lanes + max(_SPARE, lanes // 8) - running
                if room < 1:
                    return False
                self._way.send({"kind": "take", "count": room, "through": self.through})
                self._asked = True
            if self.held:
                told = self._way.poll()
                if told is None:
                    return False
            else:
                self._before_waiting()
                told = self._way.wait()
            self._asked = False
            self.over = told["kind"] == "end"
            tasks = told.get("tasks", ())
            self._got += len(tasks)
            self._ready.extend((place, key) for place, key in tasks)
        return bool(self._ready)
