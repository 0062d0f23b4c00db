"""Coloured grids: their text form, and the changes that leave a task the same task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

Grid = tuple[tuple[int, ...], ...]
"""Rows of colours 0 to 9, all of one length; 1 to 30 a side."""

Pair = tuple[Grid, Grid]
"""An input and its output."""

MOST = 30
COLOURS = 10
_ARROW = "\n->\n"
_BLANK = "\n\n"


def render(grid: Grid) -> str:
    """A grid as text: a digit a cell, a row a line, nothing else. `parse` inverts it."""
    return "\n".join("".join(map(str, row)) for row in grid)


def parse(text: str) -> Grid:
    """The grid that `render` has written.

    Raises:
        ValueError: the text is no grid.
    """
    rows = text.split("\n")
    if not all(re.fullmatch("[0-9]+", row) for row in rows):
        raise ValueError("a grid is lines of digits")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the rows of a grid are of one length")
    if max(len(rows), len(rows[0])) > MOST:
        raise ValueError(f"a grid has at most {MOST} cells a side")
    return tuple(tuple(map(int, row)) for row in rows)


def render_question(demonstrations: Iterable[Pair], test: Grid) -> str:
    """Demonstrations and a test input as text; `parse_question` inverts it.

    A demonstration is its input, a line "->" and its output; a blank line follows each, and the
    test input is last.
    """
    blocks = (render(before) + _ARROW + render(after) for before, after in demonstrations)
    return _BLANK.join((*blocks, render(test)))


def parse_question(text: str) -> tuple[tuple[Pair, ...], Grid]:
    """The demonstrations and the test input that `render_question` has written.

    Raises:
        ValueError: the text is no such question.
    """
    *blocks, test = text.split(_BLANK)
    return tuple(_parse_pair(block) for block in blocks), parse(test)


def _parse_pair(text: str) -> Pair:
    before, arrow, after = text.partition(_ARROW)
    if not arrow:
        raise ValueError("a demonstration has a line '->' between input and output")
    return parse(before), parse(after)


def _colours(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(value)


@attrs.frozen
class Augmentation:
    """A reflection, then quarter turns, and new colours: the task stays the same.

    Attributes:
        mirrored: whether left and right change places, before turning.
        turns: quarter turns clockwise, 0 to 3.
        colours: colour `i` becomes `colours[i]`; a permutation of 0 to 9.

    Raises:
        ValueError: a field is out of range.
    """

    mirrored: bool = False
    turns: int = attrs.field(default=0, validator=attrs.validators.in_(range(4)))
    colours: tuple[int, ...] = attrs.field(default=tuple(range(COLOURS)), converter=_colours)

    def __attrs_post_init__(self) -> None:
        if sorted(self.colours) != list(range(COLOURS)):
            raise ValueError(f"colours must be a permutation of 0 to 9, not {self.colours}")

    def apply(self, grid: Grid) -> Grid:
        """The changed grid."""
        if self.mirrored:
            grid = _mirrored(grid)
        return _recoloured(_turned(grid, self.turns), self.colours)

    def invert(self, grid: Grid) -> Grid:
        """The grid that `apply` has changed, as it was: for grids that a model generated."""
        back = [0] * COLOURS
        for old, new in enumerate(self.colours):
            back[new] = old
        grid = _turned(_recoloured(grid, back), -self.turns % 4)
        return _mirrored(grid) if self.mirrored else grid


def _mirrored(grid: Grid) -> Grid:
    return tuple(row[::-1] for row in grid)


def _turned(grid: Grid, turns: int) -> Grid:
    for _ in range(turns):
        grid = tuple(zip(*grid[::-1], strict=True))
    return grid


def _recoloured(grid: Grid, colours: Sequence[int]) -> Grid:
    return tuple(tuple(colours[cell] for cell in row) for row in grid)
