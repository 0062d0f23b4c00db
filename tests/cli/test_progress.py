"""The progress line, in a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dcm.cli.figures import duration, percent, rate, size
from dcm.cli.progress import ProgressLine
from dcm.running.experiment import Progress


def progress(finished: int, **changes: float) -> Progress:
    values = {
        "examples": 120,
        "finished": finished,
        "exact": finished,
        "certified": finished - 1,
        "row_steps": 4600,
        "seconds": 40.0,
        "lanes": 32,
        "seconds_left": 62.0,
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
        line(progress(0, row_steps=0))
        for second in range(25):
            clock.seconds = second
            line(progress(second + 1))
        line(progress(120, seconds_left=0.0))
    assert text.getvalue().splitlines() == [
        "loading tiny and toy",
        "0/120 done, starting",
        "11/120 done, 11 exact, 10 certified, 115 row-steps/s, 1 min 02 s left",
        "21/120 done, 21 exact, 20 certified, 115 row-steps/s, 1 min 02 s left",
        "120/120 done, 120 exact, 119 certified, 115 row-steps/s",
    ]


def test_the_last_line_is_not_said_twice() -> None:
    text = io.StringIO()
    with ProgressLine(Console(file=text, width=80), Clock()) as line:
        line(progress(5))
    assert len(text.getvalue().splitlines()) == 1


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
    assert "57/120 done, 57 exact, 56 cert" in shown
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
