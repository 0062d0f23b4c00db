"""What the process that writes makes of what workers say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dcm.engines import Gone
from dcm.engines.message import pack
from dcm.outcome import Outcome, Status
from dcm.running import many
from dcm.running.many import Many
from dcm.running.summary import result_line
from dcm.testing.doubles import ToyTask


class Scripted:
    """An engine whose workers say, at each look, what comes next; each look takes so long."""

    workers = 2

    def __init__(self, clock, looks):
        self.clock, self.looks = clock, iter(looks)

    def receive(self, _seconds):
        seconds, messages = next(self.looks)
        self.clock.seconds += seconds
        for name, message in messages:
            yield name, pack(message) if message else Gone("it ended")

    def send(self, worker, message):
        pass


def finished(number):
    line = result_line(Outcome(ToyTask(9)[number], Status.FAILED, reason="no"), {})
    return {"kind": "finished", "lines": [line], "curves": [], "layout": "prefix"}


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(many.time, "monotonic", lambda: now.seconds)
    return now


def test_a_worker_that_has_fallen_silent_is_named_once_each_time(clock) -> None:
    hello = {"kind": "hello", "host": "far", "pid": 7}
    take = {"kind": "take", "count": 1, "through": 0}
    start = [("a", hello), ("b", {**hello, "pid": 8}), ("a", take), ("b", take)]
    looks = [
        (0.5, start),
        *[(100, [("a", {"kind": "looking", "count": 1, "at": 1})])] * 8,
        (100, [("b", {"kind": "looking", "count": 1, "at": 1})]),
        *[(100, [])] * 4,
        (0.5, [("a", finished(0)), ("b", finished(1))]),
        (0.5, [("a", None), ("b", None)]),
    ]
    told = []
    experiment = SimpleNamespace(describe=dict)
    run = SimpleNamespace(save_curves=lambda rows: None)
    force = Many(experiment, Scripted(clock, looks), lambda: None, told.append)
    left = [(number, ToyTask(9)[number].id) for number in range(2)]
    lines = list(force.results(run, left))
    assert sum(map(len, lines)) == 2
    # "b" twice, and "a" once, of which nothing is heard at the end either.
    assert [line.split(" on ")[0] for line in told] == ["Worker b", "Worker a", "Worker b"]
    assert "nothing for 5 minutes" in told[0]
    assert "process, 8, and its 1 examples" in told[0]
