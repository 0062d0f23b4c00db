"""The progress line, in a terminal and elsewhere."""

from __future__ import annotations

import io
from typing import Any

import attrs
import pytest
from rich.console import Console

from dcm.cli.progress import ProgressLine, of_workers, words
from dcm.reporting.units import duration, percent, rate, size
from dcm.running.progress import Progress, WorkerProgress


def progress(finished: int, **changes: Any) -> Progress:
    values: dict[str, Any] = {
        "examples": 120,
        "finished": finished,
        "exact": finished,
        "certified": max(0, finished - 1),
        "row_steps": 4600,
        "seconds": 40.0,
        "lanes": 32,
        "seconds_left": 62.0,
        "step": 7,
        "loss": 0.4123,
        "exact_share": 0.35,
    }
    return Progress(**(values | changes))


class Clock:
    """Shows the seconds it is set to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_without_a_terminal_a_line_each_ten_seconds_first_and_last() -> None:
    text, clock = io.StringIO(), Clock()
    with ProgressLine(Console(file=text, width=80), clock) as line:
        line.load("tiny and toy")
        line(progress(0, phase="checking", looked_at=1))
        line(progress(0, row_steps=0, seconds_left=None))
        line(progress(0, row_steps=0, seconds_left=None, phase="baselines"))
        for second in range(25):
            clock.seconds = second
            line(progress(second + 1))
        line(progress(120, seconds_left=0.0))
    assert text.getvalue().splitlines() == [
        "loading tiny and toy",
        "0/120 done, starting",
        "11/120 done (10 certified), step 7, loss 0.41, 35 % exact, 1 min 02 s left",
        "21/120 done (20 certified), step 7, loss 0.41, 35 % exact, 1 min 02 s left",
        "120/120 done (119 certified)",
    ]


def test_the_last_line_is_not_said_twice() -> None:
    text = io.StringIO()
    with ProgressLine(Console(file=text, width=80), Clock()) as line:
        line(progress(5))
    assert len(text.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"phase": "checking", "looked_at": 40}, "checking examples, 40 of 120"),
        ({"phase": "baselines"}, "9/120 done, measuring baselines, 1 min 02 s left"),
        ({"phase": "certifying"}, "9/120 done, certifying, 1 min 02 s left"),
        ({"seconds_left": None}, "9/120 done, step 7, loss 0.41, 35 % exact"),
        ({"loss": 12.7}, "9/120 done, step 7, loss 13, 35 % exact, 1 min 02 s left"),
    ],
)
def test_the_phase_is_told(changes: dict[str, Any], text: str) -> None:
    assert words(progress(9, certified=9, **changes)) == text


def test_checking_that_takes_long_is_told_and_remarks_when_it_ends() -> None:
    text, clock = io.StringIO(), Clock()
    with ProgressLine(Console(file=text, width=80), clock) as line:
        line.told_when_loaded = lambda: ["a.csv: encoding cp1252"]
        for second in range(12):
            clock.seconds = second
            line(progress(0, phase="checking", looked_at=10 * second))
        line(progress(0, row_steps=0, seconds_left=None))
        line(progress(120, certified=120))
    assert text.getvalue().splitlines() == [
        "checking examples, 100 of 120",
        "a.csv: encoding cp1252",
        "0/120 done, starting",
        "120/120 done",
    ]


def test_a_warning_is_a_line_of_its_own() -> None:
    text = io.StringIO()
    with ProgressLine(Console(file=text, width=20), Clock()) as line:
        line.warn("the store\nis [red]away[/red], so nothing is tracked")
    assert line.warned
    assert text.getvalue() == "Warning: the store is [red]away[/red], so nothing is tracked\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_in_a_terminal_one_line_is_rewritten_and_leaves_nothing(width: int) -> None:
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, color_system=None)
    with ProgressLine(console, Clock()) as line:
        line.load("tiny and toy")
        line(progress(57))
        console.print(line.rendered())
    shown = text.getvalue()
    assert "57/120 done (56 certified), step" in shown
    assert ("1 min 02 s left" in shown) == (width >= 80)
    assert all(len(each) <= width for each in _lines(line, width))
    assert shown.endswith("\x1b[2K")  # the live line is erased


def _lines(line: ProgressLine, width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(line.rendered())
    lines = text.getvalue().splitlines()
    assert len(lines) == 1
    return lines


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (duration(0.84), "0.8 s"),
        (duration(42.4), "42 s"),
        (duration(59.7), "1 min 00 s"),
        (duration(185), "3 min 05 s"),
        (duration(7980), "2 h 13 min"),
        (duration(400_000), "111 h 06 min"),
        (percent(0.9834), "98.3 %"),
        (percent(1.0), "100.0 %"),
        (percent(0.99999), "99.9 %"),
        (percent(0.00001), "0.1 %"),
        (percent(0.0), "0.0 %"),
        (rate(0.71), "0.7"),
        (rate(35.2), "35"),
        (rate(1234.5), "1,234"),
        (size(851_443_712), "812 MiB"),
        (size(3_435_973_837), "3.2 GiB"),
    ],
)
def test_figures_have_their_units(figure: str, text: str) -> None:
    assert figure == text


def test_each_worker_has_a_line_and_many_are_counted() -> None:
    working = WorkerProgress(
        name="0",
        host="node",
        device="cuda",
        state="working",
        finished=12,
        row_steps=900,
        seconds=10.0,
        waited=0.5,
    )
    lost = WorkerProgress(name="1", state="lost")
    told = Progress(100, 12, 12, 12, 900, 10.0, 64, None, workers=(working, lost))
    assert of_workers(told) == [
        "  0  working, 12 done, 90 row-steps/s, 95 % busy, node cuda",
        "  1 lost, their examples given on",
    ]
    assert words(told).endswith(", 1 worker")
    many = attrs.evolve(told, workers=(working,) * 20)
    assert of_workers(many) == ["  20 working"]
    assert words(many).endswith(", 20 workers")
