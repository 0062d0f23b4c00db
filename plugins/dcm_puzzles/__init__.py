"""Generated and puzzle data sets: arithmetic, sudoku and arc."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component(
            "arithmetic",
            "dcm_puzzles.arithmetic:Arithmetic",
            "arithmetic problems, generated or from a file",
        ),
        Component("sudoku", "dcm_puzzles.sudoku:Sudoku", "9x9 Sudoku with their only solution"),
        Component("arc", "dcm_puzzles.arc:Arc", "ARC-AGI tasks: coloured grids as text"),
    ]
