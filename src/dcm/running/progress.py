"""Progress: how far a run is."""

from __future__ import annotations

import math

import attrs


@attrs.frozen
class WorkerProgress:
    """How far a worker of a run is.

    Attributes:
        name: the engine's name of it.
        host: the machine it is on.
        pid: its process there.
        device: its device, by name; empty while it loads.
        state: "loading", "working", "waiting" for examples, or "lost".
        finished: examples that it has finished.
        lanes: most rows at once.
        row_steps: measurements that it computed.
        seconds: since it had its first example.
        waited: seconds of those in which it waited for examples, or for the run to take results.
        peak_memory_bytes: most that it held at once.
    """

    name: str
    host: str = ""
    pid: int = 0
    device: str = ""
    state: str = "loading"
    finished: int = 0
    lanes: int = 0
    row_steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    peak_memory_bytes: int = 0


@attrs.frozen
class Progress:
    """How far a run is.

    Attributes:
        examples: how many examples there are.
        finished: how many are finished, those of an earlier part of the run included.
        exact: how many of them are exact.
        certified: how many of them are certified.
        row_steps: measurements computed in this part of the run.
        seconds: since the solver began.
        lanes: most rows at once.
        seconds_left: an estimate; None while it would be a guess.
        looked_at: how many examples were looked at so far, before anything is computed; None
            once all were.
        waiting: what the run waits for at its end, in words; empty where it does not.
        phase: what is being done: measuring "baselines", "optimising" or "certifying".
        step: how many steps the rows that run have made, their median.
        loss: their median loss in nats.
        exact_share: which share of them is exact.
        workers: how far each worker is; empty where this process is the only one.
    """

    examples: int
    finished: int
    exact: int
    certified: int
    row_steps: int
    seconds: float
    lanes: int
    seconds_left: float | None
    looked_at: int | None = None
    waiting: str = ""
    phase: str = "optimising"
    step: int = 0
    loss: float = math.nan
    exact_share: float = 0.0
    workers: tuple[WorkerProgress, ...] = ()
