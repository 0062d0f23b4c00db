"""Solving Sudoku with a SAT solver (package python-sat), which also tells whether a solution is
the only one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from typing import Any

import attrs

from dcm import DatasetError

Cells = tuple[int, ...]
"""81 digits, row by row; 0 is an empty cell."""

UNITS: tuple[tuple[int, ...], ...] = (
    *(tuple(range(9 * row, 9 * row + 9)) for row in range(9)),
    *(tuple(range(column, 81, 9)) for column in range(9)),
    *(
        tuple(27 * down + 3 * across + 9 * row + column for row in range(3) for column in range(3))
        for down in range(3)
        for across in range(3)
    ),
)
"""The cells of each of the 27 rows, columns and boxes."""


@attrs.define
class Solver:
    """Solves puzzles one after another; what it learns about the rules serves them all.

    The rules are 11,988 clauses over 729 variables, the variable 9 * cell + digit saying that a
    cell holds a digit (the extended encoding of Lynce & Ouaknine 2006, "Sudoku as a SAT problem").
    """

    def solve(self, puzzle: Cells) -> tuple[Cells, ...]:
        """None, one or two of the puzzle's solutions: two if it has several.

        Raises:
            DatasetError: python-sat is not installed.
        """
        sat = self._sat
        given = [9 * cell + digit for cell, digit in enumerate(puzzle) if digit]
        if not sat.solve(assumptions=given):
            return ()
        first = _filled(sat.get_model())
        # Forbid this solution while a new variable is assumed, then let go of it for good.
        again = sat.nof_vars() + 1
        sat.add_clause([-again, *(-(9 * cell + digit) for cell, digit in enumerate(first))])
        found: tuple[Cells, ...] = (first,)
        if sat.solve(assumptions=[*given, again]):
            found = (first, _filled(sat.get_model()))
        sat.add_clause([-again])
        return found

    @cached_property
    def _sat(self) -> Any:
        try:
            from pysat.solvers import Glucose4
        except ImportError as error:
            raise DatasetError(
                "a puzzle without a solution needs the package python-sat",
                "It is not installed",
                "Install dynamic-context-memory[puzzles], or give `solutions`",
            ) from error
        return Glucose4(bootstrap_with=_rules())


def _rules() -> Iterator[list[int]]:
    for cell in range(81):
        yield from _exactly_one([9 * cell + digit for digit in range(1, 10)])
    for unit in UNITS:
        for digit in range(1, 10):
            yield from _exactly_one([9 * cell + digit for cell in unit])


def _exactly_one(variables: list[int]) -> Iterator[list[int]]:
    yield variables
    for one, other in combinations(variables, 2):
        yield [-one, -other]


def _filled(model: list[int]) -> Cells:
    return tuple((variable - 1) % 9 + 1 for variable in model[:729] if variable > 0)
