"""Torchrun: the ranks that torchrun, or srun, has started."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from dcm.engines.connected import Connected
from dcm.engines.local import visible_cards
from dcm.engines.process import start_process
from dcm.errors import DcmError, UsageError

_KEY = "dcm"
_HOURS = timedelta(hours=1)
_AGAIN = 20


class Torchrun(Connected):
    """A worker for each rank of a job. Rank 0 leads the run, and has a worker, too.

    The ranks find rank 0 by the store of torch.distributed. A rank that is lost is missed by
    nobody; its examples are given on, and it may come again.
    """

    def __init__(self) -> None:
        super().__init__()
        missing = [
            key
            for key in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
            if key not in os.environ
        ]
        if missing:
            there = f"The environment lacks {', '.join(missing)}"
            do = "Start it by torchrun, or set them, as docs/how-to/many-gpus.md has it for Slurm"
            raise UsageError("this process is no rank of a job", there, do)
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._store: Any = None
        self._address = ("127.0.0.1", 0)

    @property
    def restarted(self) -> bool:
        """Whether torchrun has started these ranks again, since one was lost."""
        return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def start(self, work: str) -> None:
        self._work = work
        port = self._listen("")
        self._address = ("127.0.0.1", port)
        if self.world > 1:
            self._store = _store()
            told = {"port": port, "secret": self.secret}
            self._store.set(_KEY, json.dumps(told))
        self._launch(self._address, _environment())

    def _name(self, number: int) -> str:
        return f"{self.rank}.{number}"

    def replace(self, worker: str) -> None:
        if worker.startswith("0."):
            self._launch(self._address, _environment())

    def serve(self, work: str) -> None:
        """Work for rank 0 until it has no more; a worker that dies is replaced.

        Raises:
            DcmError: rank 0 is not to be found, or worker after worker dies.
        """
        self._work = work
        told = json.loads(_store().get(_KEY))
        self.secret = told["secret"]
        address = (os.environ["MASTER_ADDR"], told["port"])
        why = ""
        for number in range(_AGAIN):
            process = start_process(work, self._name(number), address, self.secret, _environment())
            self._processes = {"": process}
            if process.wait() == 0:
                return
            why = process.last_words()
            if "Connection" in why or "EOF" in why:
                break
        raise DcmError(f"the worker of rank {self.rank} ended", why)


def _store() -> Any:
    """The store that all ranks share."""
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://", timeout=_HOURS)))
    return store


def _environment() -> dict[str, str]:
    """Which card the worker of this rank sees."""
    cards = visible_cards()
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return {"CUDA_VISIBLE_DEVICES": cards[local % len(cards)]} if cards else {}
