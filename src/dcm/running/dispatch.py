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
        self._apart: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()
        self.unfinished = len(self._fresh)

    def give(self, worker: str, count: int, share: float) -> list[Task]:
        """Examples for a worker, at most `count`; none where it has its share, or there are none.

        None has more than its share of those that are not finished, so that none is idle at the
        end while others have examples that wait. A worker without any gets at least one.

        Args:
            worker: its name.
            count: for how many it has room.
            share: its part of the work that all workers do at a time, 0 to 1.
        """
        held = self._held.setdefault(worker, {})
        if worker in self._apart and held:
            return []
        self._apart.discard(worker)
        if self._fresh:
            most = max(math.ceil(share * self.unfinished) - len(held), 0 if held else 1)
            given = [self._fresh.popleft() for _ in range(min(count, most, len(self._fresh)))]
        elif self._suspects and not held:
            given = self._suspects.popleft()
            self._apart.add(worker)
        else:
            return []
        held.update((key, (place, key)) for place, key in given)
        return given

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
