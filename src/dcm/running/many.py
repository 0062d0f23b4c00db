"""Many: a run whose examples are solved by the workers of an engine."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

import dcm.errors
from dcm.engines import Engine, Gone
from dcm.engines.message import pack, unpack
from dcm.errors import DcmError, UsageError
from dcm.outcome import FAILING, Outcome, Status
from dcm.running.dispatch import Dispatch
from dcm.running.looking import Looked, example_at
from dcm.running.progress import WorkerProgress
from dcm.running.run_directory import RunDirectory
from dcm.running.solving import Facts
from dcm.running.summary import result_line
from dcm.solver import Stats
from dcm.solver.guard import ComponentError

if TYPE_CHECKING:
    from torch import Tensor

    from dcm.running.experiment import Experiment

WORK = "dcm.running.worker:work"

_GLANCE = 0.5  # seconds
_FAREWELL = 10.0  # seconds that workers have to say how they ended
_HOPELESS = 20  # workers lost in a row, with nothing finished
_AT_START = 3  # likewise before they had anything to do
_SILENCE = 300.0  # seconds without a word that are told; workers speak after each step


class Many:
    """Gives examples to workers and takes what becomes of them.

    Args:
        experiment: how they solve.
        engine: where they are.
        on_step: called when a worker has said how far it is, and now and then.
        warn: told of workers that were lost, or that have fallen silent, a line each.
    """

    def __init__(
        self,
        experiment: Experiment,
        engine: Engine,
        on_step: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.experiment, self.engine = experiment, engine
        self._on_step, self._warn = on_step, warn
        self._progress: dict[str, WorkerProgress] = {}
        self._stats: dict[str, Stats] = {}
        self._wanting: dict[str, int] = {}
        self._spoke: dict[str, float] = {}
        self._dispatch = Dispatch(())
        self._looking = ""
        self._looked: Looked | None = None
        self._facts: Facts | None = None
        self._on_looked: Callable[[int, int], None] = lambda _count, _at: None
        self._run: RunDirectory | None = None
        self._in_a_row = self._at_start = 0

    @property
    def workers(self) -> tuple[WorkerProgress, ...]:
        return tuple(self._progress.values())

    @property
    def stats(self) -> Stats:
        """What all workers have done together; medians are those of the workers' medians."""
        alive = [each for name, each in self._stats.items() if self._progress[name].state != "lost"]
        total = Stats()
        for each in self._stats.values():
            for name in ("row_steps", "useful_row_steps", "ended", "ended_cubes"):
                setattr(total, name, getattr(total, name) + getattr(each, name))
        for each in alive:
            for name in ("lanes", "active", "running_cubes"):
                setattr(total, name, getattr(total, name) + getattr(each, name))
        busy = sorted((each for each in alive if each.active), key=lambda each: each.step)
        if busy:
            middle = busy[len(busy) // 2]
            total.step, total.loss, total.phase = middle.step, middle.loss, middle.phase
            total.exact_share = sum(e.exact_share * e.active for e in busy) / total.active
        total.finished = sum(each.finished for each in self._progress.values())
        return total

    def look(self, on_looked: Callable[[int, int], None]) -> tuple[Looked, Facts]:
        """Start the workers, and let one of them look at every example."""
        parameters = self.experiment.describe()["generator"]["params"]
        device = str(parameters.get("device", ""))
        if re.fullmatch(r"cuda:\d+", device):
            asked = f"workers were asked for, and device = {device}"
            raise UsageError(asked, "Each takes a card of its own", "Leave out the device")
        self._on_looked = on_looked
        self.engine.start(WORK)
        while self._looked is None or self._facts is None:
            for _ in self._heard():
                pass
        return self._looked, self._facts

    def results(
        self, run: RunDirectory, left: Sequence[tuple[int, str]]
    ) -> Iterator[list[dict[str, Any]]]:
        """Lines of results.jsonl, whose contents and curves are saved; as `Alone.results`."""
        self._run, self._dispatch = run, Dispatch(left)
        self._serve()
        while self._dispatch.unfinished:
            for lines in self._heard():
                if lines:
                    self._in_a_row = 0
                    yield lines
                self._serve()
            self._tell_silent()
            self._on_step()
        self._say_farewell()

    def machine(self) -> dict[str, Any]:
        """What summary.json says of the machines that worked."""
        devices = Counter(each.device for each in self.workers if each.device and each.finished)
        return {
            "peak_memory_bytes": max((each.peak_memory_bytes for each in self.workers), default=0),
            "device": ", ".join(f"{count} x {name}" for name, count in sorted(devices.items())),
            "dtype": self._facts.dtype if self._facts else "",
            "trials": self._facts.trials if self._facts else {},
            "workers": [attrs.asdict(each) for each in self.workers],
        }

    def close(self) -> None:
        """End the workers."""
        self.engine.close()

    def _say_farewell(self) -> None:
        """Let workers end, and hear how much they did."""
        waiting = {each.name for each in self.workers if each.state != "lost"}
        for name in waiting:
            self.engine.send(name, pack({"kind": "end"}))
        end = time.monotonic() + _FAREWELL
        while waiting and time.monotonic() < end:
            for name, message in self.engine.receive(_GLANCE):
                if isinstance(message, Gone):
                    waiting.discard(name)
                elif name in self._progress:
                    told, _ = unpack(message)
                    if told.pop("kind") == "stats":
                        self._note(name, told)

    def _heard(self) -> Iterator[list[dict[str, Any]]]:
        """Listen to the workers for a moment; the lines of each message, which may have none."""
        for name, message in self.engine.receive(_GLANCE):
            self._spoke[name] = time.monotonic()
            if isinstance(message, Gone):
                yield self._lost(name, message.why)
            else:
                told, tensors = unpack(message)
                yield self._take(name, told.pop("kind"), told, tensors)

    def _take(
        self, name: str, kind: str, told: dict[str, Any], tensors: dict[str, Tensor]
    ) -> list[dict[str, Any]]:
        """What a message says; its lines."""
        if kind == "hello":
            self._welcome(name, told)
        elif kind == "ready":
            self._ready(name, Facts(**told))
        elif kind == "looking":
            self._on_looked(told["count"], told["at"])
        elif kind == "looked":
            self._looked = Looked(**told)
        elif kind == "take":
            self._wanting[name] = told["count"]
            self._dispatch.through(name, told["through"])
        elif kind == "stats":
            self._note(name, told)
            self._on_step()
        elif kind == "finished":
            return self._finished(name, told, tensors)
        elif kind == "error":
            raise _error(told)
        return []

    def _welcome(self, name: str, told: dict[str, Any]) -> None:
        self._progress[name] = WorkerProgress(name, **told)
        look = self._looked is None and not self._looking
        if look:
            self._looking = name
        form = self.experiment.describe()
        self.engine.send(name, pack({"kind": "begin", "experiment": form, "look": look}))

    def _ready(self, name: str, facts: Facts) -> None:
        if self._facts is None:
            self._facts = facts
        elif facts.weights != self._facts.weights:
            host = self._progress[name].host
            asked = f"worker {name} on {host} has another model than the others"
            do = "Give every machine the same weights and the same tokenizer"
            raise DcmError(asked, "Its fingerprint is another", do)
        self._set(name, device=facts.device, state="waiting")

    def _note(self, name: str, told: dict[str, Any]) -> None:
        self._dispatch.through(name, told.pop("through"))
        times = {key: told.pop(key) for key in ("seconds", "waited", "peak_memory_bytes")}
        stats = self._stats[name] = Stats(**told)
        self._set(name, lanes=stats.lanes, row_steps=stats.row_steps, **times)

    def _set(self, name: str, **changes: Any) -> None:
        self._progress[name] = attrs.evolve(self._progress[name], **changes)

    def _serve(self) -> None:
        """Give examples to those that have asked for some."""
        for name, count in list(self._wanting.items()):
            workers = self.engine.workers
            given = self._dispatch.give(name, count, self._share(name), workers)
            if given:
                del self._wanting[name]
                self.engine.send(name, pack({"kind": "tasks", "tasks": given}))
            state = "working" if self._dispatch.held(name) else "waiting"
            if self._progress[name].state != state:
                self._set(name, state=state)

    def _share(self, name: str) -> float:
        """A worker's part of the steps that all do at a time; an equal one while it is unknown."""
        speeds = {
            each.name: each.row_steps / (each.seconds - each.waited)
            for each in self.workers
            if each.state != "lost" and each.row_steps and each.seconds > each.waited
        }
        part = 1 / max(1, self.engine.workers)
        if name not in speeds:
            return part
        # Those that are still loading may be as fast as the others.
        return len(speeds) * part * speeds[name] / sum(speeds.values())

    def _finished(
        self, name: str, told: dict[str, Any], tensors: dict[str, Tensor]
    ) -> list[dict[str, Any]]:
        """Save what came with lines, and give those that this worker had."""
        assert self._run is not None  # noqa: S101 - nothing is given out before
        lines = [line for line in told["lines"] if self._dispatch.finish(name, line["id"])]
        keys = {line["id"] for line in lines}
        self._run.save_curves([row for row in told["curves"] if row["id"] in keys])
        by_kind: dict[str, dict[str, Tensor]] = {"content": {}, "mode": {}}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            by_kind[kind][rest] = tensor
        contents = {key: each for key, each in by_kind["content"].items() if key in keys}
        if contents:
            self._run.save_contents(contents, by_kind["mode"], told["layout"])
            # What was decoded is what the disk gives back: its checksums are compared.
            self._run.load_contents([self._run.ref(key) for key in contents])
        for line in lines:
            if line["id"] in contents:
                line["content"] = self._run.ref(line["id"])
        self._set(name, finished=self._progress[name].finished + len(lines))
        return lines

    def _tell_silent(self) -> None:
        """Say which workers have examples and have said nothing for long, once each time.

        None is ended for it: a step may take long.
        """
        for name, spoke in self._spoke.items():
            had = self._dispatch.held(name)
            if had and time.monotonic() - spoke >= _SILENCE:
                self._spoke[name] = math.inf
                it = self._progress[name]
                self._warn(
                    f"Worker {name} on {it.host} has said nothing for {_SILENCE / 60:.0f} minutes; "
                    f"if it hangs end its process, {it.pid}, and its {had} examples are given on"
                )

    def _lost(self, name: str, why: str) -> list[dict[str, Any]]:
        """Give on what a worker had; lines of the examples that are given up."""
        had = self._dispatch.held(name)
        given_up = self._dispatch.lose(name)
        self._wanting.pop(name, None)
        where = f" on {self._progress[name].host}" if name in self._progress else ""
        ready = name in self._progress and self._progress[name].device
        self._in_a_row += 1
        self._at_start = 0 if ready else self._at_start + 1
        if name in self._progress:
            self._set(name, state="lost")
        if self._looking == name and self._looked is None:
            self._looking = ""
        if self._at_start >= _AT_START or self._in_a_row >= _HOPELESS:
            asked = f"{self._in_a_row} workers were lost in a row, and nothing was finished"
            raise DcmError(asked, f"The last one: {why}", "Mend it, then go on with --resume")
        given_on = f"; its {had} examples are given on" if had else ""
        self._warn(f"Worker {name}{where} was lost: {why}{given_on}")
        self.engine.replace(name)
        if not self.engine.workers:
            raise DcmError("all workers are lost", why, "Go on with --resume")
        return [self._given_up(place, key, why) for place, key in given_up]

    def _given_up(self, place: int, key: str, why: str) -> dict[str, Any]:
        try:
            example = example_at(self.experiment.dataset, place)
        except ComponentError as error:
            return {**error_line(key, error.reason), "example": None}
        reason = f"{FAILING}worker: every one that had this example alone was lost, the last: {why}"
        return result_line(Outcome(example, Status.FAILED, reason=reason), {})


def error_line(key: str, reason: str) -> dict[str, Any]:
    """The line of an example that cannot be read."""
    from dcm.example import Example

    lost = Example(key, "(unreadable)", "(unreadable)")
    return result_line(Outcome(lost, Status.FAILED, reason=reason), {})


def _error(told: dict[str, Any]) -> DcmError:
    """The error that a worker has raised."""
    kind = getattr(dcm.errors, told["type"], DcmError)
    if not (isinstance(kind, type) and issubclass(kind, DcmError)):
        kind = DcmError
    error: DcmError = kind(told["asked"], told["there"], told["do"])
    return error
