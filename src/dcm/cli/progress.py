"""How far a run is: a live line in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dcm.reporting.units import duration
from dcm.secrets import mask_secrets

if TYPE_CHECKING:
    from dcm.running.progress import Progress

PLAIN_SECONDS = 10.0
_LEAST_BAR = 6
_MOST_WORKERS = 8  # that have a line each


class ProgressLine:
    """Shows the progress of a run on a console, as a context.

    Args:
        console: where to; stderr by default.
        clock: seconds.

    Attributes:
        warned: whether `warn` was called.
        told_when_loaded: gives lines to print when all examples are read.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._loading = "loading"
        self._closed = False
        self.warned = False
        self.told_when_loaded: Callable[[], Sequence[str]] = tuple
        self._spinner = Spinner("dots")
        self._began = clock()
        self._printed_at = float("-inf")
        self._printed: Progress | None = None
        self._latest: Progress | None = None
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self.rendered,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
            )

    def __enter__(self) -> ProgressLine:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
        elif kind is None and self._latest and self._latest is not self._printed:
            self._print(words(self._latest))

    def load(self, what: str) -> None:
        """Say what is loaded before the first step."""
        self._loading = f"loading {what}"
        if self._live is None:
            self._print(self._loading)

    def __call__(self, progress: Progress) -> None:
        """Take note of the progress; cheap, called after every step."""
        before, self._latest = self._latest, progress
        now = self._clock()
        checking = progress.looked_at is not None
        first = not checking and (before is None or before.looked_at is not None)
        if checking and before is None:
            self._printed_at = now  # told only where it takes long
        if first:
            for remark in self.told_when_loaded():
                self._print(remark)
        due = first or bool(progress.waiting) or now - self._printed_at >= PLAIN_SECONDS
        if self._live is None and due:
            self._printed, self._printed_at = progress, now
            self._print(words(progress))

    def warn(self, line: str) -> None:
        """Print a warning above the line."""
        self.warned = True
        self._print(f"Warning: {mask_secrets(' '.join(line.split()))}")

    def _print(self, line: str) -> None:
        if self._closed:
            return
        try:
            self._console.print(Text(line), soft_wrap=True)
        except (OSError, ValueError, SystemExit):
            # Nobody reads it any more (`| head`), which must not end a run. Of a closed pipe
            # rich makes a SystemExit.
            self._closed = True

    def rendered(self) -> RenderableType:
        """The live line: a bar that takes what the words leave of the width."""
        table = Table.grid(padding=(0, 1, 0, 0))
        progress = self._latest
        if progress is None:
            text = f"{self._loading}, {duration(self._clock() - self._began)}"
            table.add_row(self._spinner, Text(text, no_wrap=True, overflow="ellipsis"))
            return table
        text = words(progress, workers=False)  # they have lines of their own
        room = self._console.width - len(text) - 2
        if room >= _LEAST_BAR:
            bar = ProgressBar(progress.examples, progress.finished, width=min(room, 30))
            table.add_row(bar, Text(text, no_wrap=True))
        else:
            table.add_row(Text(text, no_wrap=True, overflow="ellipsis"))
        if not progress.workers:
            return table
        lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in of_workers(progress)]
        return Group(table, *lines)


def words(progress: Progress, *, workers: bool = True) -> str:
    """The progress in one line of plain text, with the number of workers or without."""
    if progress.looked_at is not None:
        return f"checking examples, {progress.looked_at} of {progress.examples}"
    if progress.waiting:
        return f"{progress.finished}/{progress.examples} done, {progress.waiting}"
    done = f"{progress.finished}/{progress.examples} done"
    if progress.certified < progress.finished:
        done += f" ({progress.certified} certified)"
    if progress.finished == progress.examples:
        return done
    parts = [done]
    if progress.phase == "baselines":
        parts.append("measuring baselines")
    elif progress.phase == "certifying":
        parts.append("certifying")
    elif progress.row_steps:
        parts.append(f"step {progress.step}")
        parts.append(f"loss {progress.loss:.2g}")
        parts.append(f"{100 * progress.exact_share:.0f} % exact")
    else:
        parts.append("starting")
    if progress.workers and workers:
        alive = sum(each.state != "lost" for each in progress.workers)
        parts.append(f"{alive} worker{'' if alive == 1 else 's'}")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def of_workers(progress: Progress) -> list[str]:
    """How far each worker is, a line each; of many, those that are there are counted by state."""
    alive = [each for each in progress.workers if each.state != "lost"]
    lost = len(progress.workers) - len(alive)
    told = [f"  {lost} lost, their examples given on"] if lost else []
    if len(alive) > _MOST_WORKERS:
        states = Counter(each.state for each in alive)
        return [f"  {', '.join(f'{n} {state}' for state, n in states.most_common())}", *told]
    width = max((len(each.name) for each in alive), default=0)
    lines = []
    for each in alive:
        parts = [f"{each.state}", f"{each.finished} done"]
        if each.row_steps and each.seconds:
            parts.append(f"{each.row_steps / each.seconds:,.0f} row-steps/s")
            parts.append(f"{100 * (1 - each.waited / each.seconds):.0f} % busy")
        where = f"{each.host} {each.device}".strip()
        lines.append(f"  {each.name:>{width}}  {', '.join(parts)}, {where}")
    return [*lines, *told]
