"""Dispatch: which worker has which examples, and what becomes of those of a worker that is lost."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable

Task = tuple[int, str]
"""An example: its place in the data set, and its id."""

# So many workers may be lost with an example among others before it is suspected, and so many
# with it alone before it is given up.
_ACCIDENTS, _ALONE = 2, 3

# Rows with which a GPU is about as fast as with more: a 7B shape on an H100 has enough of 99
# (measured), smaller models want more.
_ENOUGH = 256


class Dispatch:
    """Gives examples to workers that have room for them.

    Most workers that are lost are lost by no fault of an example: those that it had are given on.
    If that comes again they are tried in halves and halves of those, each by a worker that has
    nothing else, until the one that ends its worker is alone, and is given up.

    Args:
        left: the examples to be solved.
    """

    def __init__(self, left: Iterable[Task]) -> None:
        self._fresh = deque(left)
        self._suspects: deque[list[Task]] = deque()
        self._held: dict[str, dict[str, Task]] = {}
        self._given: Counter[str] = Counter()
        self._through: dict[str, int] = {}
        self._apart: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()
        self.unfinished = len(self._fresh)

    def give(self, worker: str, count: int, share: float, workers: int) -> list[Task]:
        """Examples for a worker, at most `count`; none where it has its share, or there are none.

        None has more than its share of half of those that still run or wait: the other half is
        given out as rows end, to whoever is ahead, so that all end together. When so few are left
        that this would leave workers with too few rows to be fast, all are given out. A worker
        without any gets at least one.

        Args:
            worker: its name.
            count: for how many it has room.
            share: its part of the work that all workers do at a time, 0 to 1.
            workers: how many workers there are.
        """
        held = self._held.setdefault(worker, {})
        if worker in self._apart and held:
            return []
        self._apart.discard(worker)
        if self._fresh:
            running = self._running(worker)
            most = max(math.ceil(share * self._out(workers)) - running, 0 if running else 1)
            given = [self._fresh.popleft() for _ in range(min(count, most, len(self._fresh)))]
        elif self._suspects and not held:
            given = self._suspects.popleft()
            self._apart.add(worker)
        else:
            return []
        held.update((key, (place, key)) for place, key in given)
        self._given[worker] += len(given)
        return given

    def through(self, worker: str, count: int) -> None:
        """A worker says that so many of all that it got are finished or wait to be certified."""
        self._through[worker] = count

    def _running(self, worker: str) -> int:
        """How many examples a worker has that are not through."""
        running = self._given[worker] - self._through.get(worker, 0)
        return min(running, self.held(worker))

    def _out(self, workers: int) -> int:
        """How many examples all workers together may have that are not through."""
        left = len(self._fresh) + sum(map(self._running, self._held))
        return left if workers < 2 else min(left, max(left // 2, _ENOUGH * workers))

    def finish(self, worker: str, key: str) -> bool:
        """An example is finished; False if it was not this worker's."""
        if self._held.get(worker, {}).pop(key, None) is None:
            return False
        self.unfinished -= 1
        return True

    def lose(self, worker: str) -> list[Task]:
        """A worker is lost; the examples that are given up with it, as finished."""
        lost = list(self._held.pop(worker, {}).values())
        self._apart.discard(worker)
        if len(lost) == 1:
            (task,) = lost
            self._alone[task[1]] += 1
            if self._alone[task[1]] >= _ALONE:
                self.unfinished -= 1
                return lost
            self._suspects.append(lost)
            return []
        self._losses.update(key for _, key in lost)
        again = [task for task in lost if self._losses[task[1]] >= _ACCIDENTS]
        self._fresh.extendleft(
            reversed([task for task in lost if self._losses[task[1]] < _ACCIDENTS])
        )
        middle = -(-len(again) // 2)
        self._suspects.extend(half for half in (again[:middle], again[middle:]) if half)
        return []

    def held(self, worker: str) -> int:
        """How many examples a worker has."""
        return len(self._held.get(worker, {}))
