"""Endings: attempts that have ended, until they are outcomes or their rows go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs
import torch

from dcm.outcome import Outcome
from dcm.solver.batch import Setup
from dcm.solver.item import Ended, Item, Row
from dcm.solver.outcomes import outcomes_of
from dcm.solver.stats import Stats

Verify = Callable[[Sequence[Outcome]], Sequence[Outcome]]
"""Certifies outcomes: gives each back with `certified` and `decoded` filled in."""

# Steps that an ended attempt waits at most for others to be certified with. On a GPU decoding takes
# as long as several steps, however few the texts.
_CPU_WAIT, _GPU_WAIT = 16, 64


class Endings:
    """Decides what the end of an attempt means for its example.

    Args:
        setup: what all rows share.
        verify: certifies outcomes; None where nobody does.
        waiting: where rows that go on, and new attempts, wait for a lane.
        attempt: an item's next attempt.
        stats: told of row-steps that will be made again.
        enter: called with "certifying" before outcomes are certified.
    """

    def __init__(
        self,
        setup: Setup,
        verify: Verify | None,
        waiting: deque[Row],
        attempt: Callable[[Item], Row],
        stats: Stats,
        enter: Callable[[str], None],
    ) -> None:
        self._setup = setup
        self._verify = verify
        self._waiting = waiting
        self._attempt = attempt
        self._stats = stats
        self._enter = enter
        self._on_gpu = setup.generator.device.type == "cuda"
        self._noted: deque[Ended] = deque()
        self._copied: torch.cuda.Event | None = None
        self._unverified: list[Ended] = []
        self._waited = 0
        self._outcomes: list[Outcome] = []

    def __len__(self) -> int:
        """How many are no outcomes yet."""
        return len(self._noted) + len(self._unverified) + len(self._outcomes)

    def note(self, ended: Sequence[Ended]) -> None:
        """Take attempts that have just ended."""
        if ended and self._verify is None and self._on_gpu:
            # On its way before the device has other work, to be there when it is looked at.
            contents = torch.stack([each.best.content for each in ended])
            home = contents.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(contents.device))
            ended = [
                attrs.evolve(each, best=attrs.evolve(each.best, content=own))
                for each, own in zip(ended, home, strict=True)
            ]
        self._noted += ended

    def sort(self) -> None:
        """Decide of those noted which are done and which examples try again.

        None of it waits for the device, which may be computing.

        Raises:
            torch.OutOfMemoryError: none is lost, the rest can be sorted later.
        """
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None
        while self._noted:
            self._sort(self._noted[0])
            self._noted.popleft()
        if self._verify is None and self._unverified:
            self._outcomes += self._final()

    def outcomes(self, active: int) -> list[Outcome]:
        """The outcomes that there are now, while so many rows are being optimised."""
        if self._unverified and self._is_due(active):
            self._outcomes += self._final()
        found, self._outcomes = self._outcomes, []
        return found

    def _is_due(self, active: int) -> bool:
        """Whether those that have ended are certified now.

        Many at once are cheaper, since decoding a batch takes as long as its longest text. It goes
        by steps, not by time, so that a run leaves the same files each time.
        """
        if not active or len(self._unverified) >= 2 * self._stats.lanes:
            return True
        self._waited += 1
        return self._waited >= (_GPU_WAIT if self._on_gpu else _CPU_WAIT)

    def _sort(self, ended: Ended) -> None:
        item = ended.row.item
        if ended.better_than(item.kept):
            item.kept = ended
        # An exact content may be certified although a criterion asked for more.
        hopeful = ended.converged or (self._verify is not None and ended.best.exact)
        if hopeful or item.attempts >= self._setup.optimizer.attempts:
            self._unverified.append(item.kept if item.kept and not hopeful else ended)
            return
        if item.kept is ended:  # before the next attempt is counted, since memory may run out
            item.kept = ended.alone()
        self._waiting.append(self._attempt(item))

    def _final(self) -> list[Outcome]:
        """Certify the ended attempts; those that may try again go back into the queue."""
        self._waited = 0
        batch = self._unverified
        outcomes: Sequence[Outcome] = outcomes_of(batch, self._setup)
        verified: dict[str, Outcome] = {}
        checked = [outcome for outcome in outcomes if outcome.content is not None]
        if self._verify and checked:
            self._enter("certifying")
            verified = {each.example.id: each for each in self._verify(checked)}
        self._unverified = []
        final = []
        for ended, unverified in zip(batch, outcomes, strict=True):
            outcome = verified.get(unverified.example.id, unverified)
            row, item = ended.row, ended.row.item
            # What certification gives a reason for would fail by it again.
            hopeless = outcome.reason != unverified.reason
            uncertified = outcome.certified is False and ended.best.exact and not hopeless
            if uncertified and ended.finite and row.step < self._setup.max_steps:
                row.demand = 2 * max(ended.best.margin, self._setup.generator.logit_noise)
                # It will be measured once more where it stands, to have its gradient again.
                self._stats.useful_row_steps -= 1
                self._waiting.appendleft(row)
            elif uncertified and item.attempts < self._setup.optimizer.attempts:
                self._waiting.append(self._attempt(item))
            else:
                final.append(outcome)
                # Item, attempt and row point at each other: without this their tensors live on
                # until the garbage collector comes by.
                item.kept = None
        return final
