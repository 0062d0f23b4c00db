"""Local: all cards of this machine, or some processes on its CPU."""

from __future__ import annotations

import os

import attrs

from dcm.engines.connected import Connected
from dcm.errors import UsageError
from dcm.fields import whole

_LOCALHOST = "127.0.0.1"


@attrs.define(slots=False, eq=False)
class Local(Connected):
    """A process for each GPU of this machine, or `workers` processes.

    Attributes:
        workers_wanted: how many; None for as many as there are GPUs.
        gpus_per_worker: cards that each worker sees; a model of several wants `device_map`.
    """

    workers_wanted: int | None = attrs.field(
        default=None, alias="workers", validator=whole(1, optional=True)
    )
    gpus_per_worker: int = attrs.field(default=1, validator=whole(1))

    def __attrs_post_init__(self) -> None:
        super().__init__()
        self._cards: dict[str, dict[str, str]] = {}
        self._address = (_LOCALHOST, 0)

    def start(self, work: str) -> None:
        self._work = work
        cards = visible_cards()
        groups = [
            cards[first : first + self.gpus_per_worker]
            for first in range(0, len(cards) - self.gpus_per_worker + 1, self.gpus_per_worker)
        ]
        count = len(groups) if self.workers_wanted is None else self.workers_wanted
        if not count:
            asked = "workers were asked for, and this machine has no GPU for each"
            raise UsageError(asked, "", "Say how many: workers=N, or --workers N")
        self._address = (_LOCALHOST, self._listen(_LOCALHOST))
        # Of a CPU each takes its part.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (cores or 1) // count)))
        for number in range(count):
            group = groups[number % len(groups)] if groups else []
            shown = {"CUDA_VISIBLE_DEVICES": ",".join(group)} if group else {}
            self._begin({"OMP_NUM_THREADS": threads, **shown})

    def _begin(self, environment: dict[str, str]) -> None:
        self._cards[self._launch(self._address, environment)] = environment

    def replace(self, worker: str) -> None:
        self._begin(self._cards.pop(worker))


def visible_cards() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [each.strip() for each in given.split(",") if each.strip() not in ("", "-1")]
    import torch

    # Counted without touching them.
    return [str(number) for number in range(torch.cuda.device_count())]
