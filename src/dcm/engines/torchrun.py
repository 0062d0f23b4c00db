"""Torchrun: the ranks that torchrun, or srun, has started."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from dcm.engines.connected import Connected
from dcm.engines.engine import RUN_IS_GONE
from dcm.engines.local import visible_cards
from dcm.engines.process import start_process
from dcm.errors import DcmError, UsageError

_KEY, _OVER, _END = "dcm", "dcm/over", "dcm/end"
_GLANCE = 0.2  # seconds
_HOURS = timedelta(hours=1)
_AGAIN = 20
_PATIENCE = 60.0  # seconds until a rank 0 that does not come again is missed


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
        self._served = ""  # the secret of the run that this rank worked for last
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
            told = {"port": port, "secret": self.secret}
            self._shared().set(_KEY, json.dumps(told))
        self._launch(self._address, _environment())

    def _name(self, number: int) -> str:
        return f"0.{number + 1}"

    def replace(self, worker: str) -> None:
        if worker.startswith("0."):
            self._launch(self._address, _environment())

    def serve(self, work: str, *, several: bool = False) -> None:
        """Work for rank 0 until it has no more; a worker that dies is replaced.

        Raises:
            DcmError: rank 0 is not to be found, or worker after worker dies.
        """
        self._work = work
        store = self._shared()
        gone: dict[str, float] = {}
        losses = 0
        while losses < _AGAIN:
            # What is there may be of a rank 0 that was lost, in whose place another comes.
            told = self._next(store) if several else json.loads(store.get(_KEY))
            if told is None:
                return
            self.secret = told["secret"]
            address = (os.environ["MASTER_ADDR"], told["port"])
            process = start_process(work, str(self.rank), address, self.secret, _environment())
            try:
                status, why = process.wait(), process.last_words()
            finally:
                process.end(0)
            if status == 0 or self._is_over(store):
                if not several:
                    return
                self._served, losses = self.secret, 0
            elif status != RUN_IS_GONE:
                losses += 1
            elif time.monotonic() - gone.setdefault(self.secret, time.monotonic()) > _PATIENCE:
                raise DcmError("rank 0 is gone", "", "Go on with the run by --resume")
            else:
                time.sleep(1)
        raise DcmError(f"the worker of rank {self.rank} was lost {losses} times", why)

    def _next(self, store: Any) -> dict[str, Any] | None:
        """Where the next of several runs is; waits for it. None where no more come."""
        # Where rank 0 had the store, and has ended, that is gone, too.
        with suppress(RuntimeError):
            while not store.check([_END]):
                if store.check([_KEY]):
                    told: dict[str, Any] = json.loads(store.get(_KEY))
                    if told["secret"] != self._served:
                        return told
                time.sleep(_GLANCE)
        return None

    def end(self) -> None:
        if self.world > 1:
            self._shared().set(_END, "")

    def _shared(self) -> Any:
        """The store that all ranks share."""
        if self._store is None:
            from torch.distributed.rendezvous import rendezvous

            self._store, _, _ = next(iter(rendezvous("env://", timeout=_HOURS)))
        return self._store

    def _is_over(self, store: Any) -> bool:
        """Whether the run has ended, perhaps before this rank was of use to it."""
        with suppress(RuntimeError):  # where rank 0 had the store, that is gone, too
            return bool(store.check([_OVER]) and store.get(_OVER).decode() == self.secret)
        return False

    def close(self) -> None:
        if self._store is not None:
            with suppress(RuntimeError):
                self._store.set(_OVER, self.secret)
        super().close()


def _environment() -> dict[str, str]:
    """Which card the worker of this rank sees."""
    cards = visible_cards()
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return {"CUDA_VISIBLE_DEVICES": cards[local % len(cards)]} if cards else {}
