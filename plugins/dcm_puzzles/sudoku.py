"""Sudoku puzzles with their only solution, as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from dcm import DatasetError, Example
from dcm.fields import one_of
from dcm.reading import (
    Collected,
    CsvRows,
    OnError,
    Placed,
    StoredDataset,
    TextLines,
    Unusable,
    collect,
    csv_rows,
    spelling,
    text_lines,
)
from dcm_puzzles.solving import UNITS, Cells, Solver

_LINE = re.compile(r"([0-9.]{81})(?:\s+(.*))?", re.DOTALL)
_COMMENT = re.compile(r"\s*(//|#)")
_COUNT = re.compile(r"\s*[0-9]{1,9}\s*")
_PUZZLE_COLUMNS = ("puzzle", "puzzles", "quiz", "quizzes", "sudoku", "question")
_SOLUTION_COLUMNS = ("solution", "solutions", "answer")


class _Puzzle(NamedTuple):
    """A puzzle and its solution, with its place, as they stand in the source, and the rest."""

    puzzle: str
    solution: tuple[str, str] | None
    metadata: dict[str, str]


@attrs.frozen
class Sudoku(StoredDataset):
    """9x9 Sudoku from a text file (a puzzle a line) or, if named .csv, from a CSV file.

    The question is the puzzle as 81 digits in one line, row by row, 0 for an empty cell; the
    answer is its solution as 81 digits (`render` and `parse`). Ids are the file's name and line.

    A line of a text file is 81 characters, 0 or . for an empty cell, then perhaps a space or tab
    and a comment. Lines that start with // or #, and lines that hold a short number (how many
    puzzles follow), are left out and counted. A CSV file has the puzzle in a column `puzzle`,
    `quizzes`, `sudoku` or `question` and may have its solution in `solution`, `solutions` or
    `answer`, in any case.

    A solution that is given must fit its puzzle and keep the rules; that it is the only one is
    not checked. A missing one is computed when the set is read, which takes a millisecond or a
    few and the package python-sat (extra `puzzles`); a puzzle without a solution, or with
    several, is then left out and counted.

    Attributes:
        path: the puzzles.
        solutions: a text file with the solutions of all puzzles, in their order.
        limit: how many to take at most; None for all.
        offset: how many usable puzzles to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
        on_error: "skip" leaves out malformed puzzles, "stop" raises.
    """

    path: str
    solutions: str | None = None
    on_error: OnError = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def read(self) -> Collected:
        solver = Solver()
        source: TextLines | CsvRows
        understand: Callable[[Any, str], _Puzzle]
        if ".csv" in Path(self.path).suffixes:
            source, understand = csv_rows(self.path), _of_row
        else:
            source, understand = text_lines(self.path), _of_line
        records: Iterable[Placed] = source
        if self.solutions is not None:
            records = _paired(source, understand, self.path, self.solutions)

        def parse_record(record: Any, place: str) -> Example:
            if isinstance(record, Unusable):
                raise record
            if not isinstance(record, _Puzzle):
                record = understand(record, place)
            return _example(record, place, solver)

        return collect(
            records,
            parse_record,
            offset=self.offset,
            limit=self.limit,
            seed=self.seed,
            on_error=self.on_error,
        )

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """Grade a grid; all scores are 0.0 for a text that is no 81 digits.

        `valid`: all 27 rows, columns and boxes hold 1 to 9. `givens_kept`: share of the given
        cells that are kept. `cells_right`: share of the 81 cells that are as in the answer.
        `solved`: valid, and every given cell kept.
        """
        try:
            cells = parse(text.strip())
        except ValueError:
            return dict.fromkeys(("valid", "givens_kept", "cells_right", "solved"), 0.0)
        puzzle, answer = parse(example.question), parse(example.answer)
        givens = [cell for cell, digit in enumerate(puzzle) if digit]
        kept = sum(cells[cell] == puzzle[cell] for cell in givens)
        valid = _keeps_rules(cells)
        return {
            "valid": float(valid),
            "givens_kept": kept / len(givens) if givens else 1.0,
            "cells_right": sum(map(int.__eq__, cells, answer)) / 81,
            "solved": float(valid and kept == len(givens)),
        }


def render(cells: Sequence[int]) -> str:
    """81 cells, row by row, as 81 digits; 0 is an empty cell. `parse` inverts it.

    Raises:
        ValueError: not 81 cells, or one is no digit.
    """
    if len(cells) != 81 or not all(0 <= cell <= 9 for cell in cells):
        raise ValueError("a grid is 81 digits")
    return "".join(map(str, cells))


def parse(text: str) -> Cells:
    """The cells that `render` has written.

    Raises:
        ValueError: the text is no 81 digits.
    """
    if not re.fullmatch("[0-9]{81}", text):
        raise ValueError(f"a grid is 81 digits, not {len(text)} characters {text[:90]!r}")
    return tuple(map(int, text))


def _cells(text: str, place: str) -> Cells:
    try:
        return parse(text)
    except ValueError as error:
        raise DatasetError(str(error), place=place) from error


def _keeps_rules(cells: Cells) -> bool:
    return all({cells[cell] for cell in unit} == set(range(1, 10)) for unit in UNITS)


def _of_line(line: str, place: str) -> _Puzzle:
    if _COMMENT.match(line):
        raise Unusable("comment line")
    if _COUNT.fullmatch(line):
        raise Unusable("count line")
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise DatasetError(
            "the line has no puzzle of 81 characters", f"It is {line[:90]!r}", place=place
        )
    return _Puzzle(match[1], None, {"comment": match[2]} if match[2] else {})


def _of_row(row: Mapping[str, str], place: str) -> _Puzzle:
    spelt = [spelling(row, name) for name in _PUZZLE_COLUMNS]
    puzzle = next((name for name in spelt if name in row), None)
    spelt = [spelling(row, name) for name in _SOLUTION_COLUMNS]
    answer = next((name for name in spelt if name in row), None)
    if puzzle is None:
        there, do = f"It has {', '.join(row)}", f"Name one of {', '.join(_PUZZLE_COLUMNS)}"
        raise DatasetError("no column holds the puzzle", there, do, place=place)
    solution = row[answer].strip() if answer else ""
    rest = {name: text for name, text in row.items() if name not in (puzzle, answer)}
    return _Puzzle(row[puzzle].strip(), (place, solution) if solution else None, rest)


def _paired(
    source: TextLines | CsvRows,
    understand: Callable[[Any, str], _Puzzle],
    path: str,
    solutions: str,
) -> Iterator[Placed]:
    """Puzzles with the solutions of a file; malformed puzzles take theirs, remarks take none."""
    solved = (
        (place, line.split()[0])
        for place, line in text_lines(solutions)
        if not _COMMENT.match(line) and not _COUNT.fullmatch(line)
    )
    for _, (place, raw) in source.raw():
        record: Any
        try:
            record = understand(source.decode(raw, place), place)
        except Unusable as remark:
            yield place, remark
            continue
        except DatasetError as error:
            record = error
        solution = next(solved, None)
        if solution is None:
            asked = f"{solutions} has no solution for this puzzle"
            raise DatasetError(asked, "It has fewer than there are puzzles", place=place)
        yield place, record._replace(solution=solution) if isinstance(record, _Puzzle) else record
    if next(solved, None) is not None:
        asked = f"there are more solutions than puzzles in {path}"
        raise DatasetError(asked, "", "Each puzzle needs one, in order", place=solutions)


def _example(record: _Puzzle, place: str, solver: Solver) -> Example:
    puzzle = _cells(record.puzzle.replace(".", "0"), place)
    if record.solution is None:
        found = solver.solve(puzzle)
        if len(found) != 1:
            raise Unusable("several solutions" if found else "no solution")
        solution = found[0]
    else:
        solved_at, text = record.solution
        solution = _cells(text, solved_at)
        for cell, (given, solved) in enumerate(zip(puzzle, solution, strict=True)):
            if given not in (0, solved):
                row, column = cell // 9 + 1, cell % 9 + 1
                there = f"Row {row}, column {column} holds {solved}, the puzzle gives {given}"
                raise DatasetError("the solution contradicts the puzzle", there, place=solved_at)
        if not _keeps_rules(solution):
            raise DatasetError("the solution breaks the rules of Sudoku", place=solved_at)
    file, _, line = place.rpartition(":")
    metadata = {"givens": 81 - puzzle.count(0), **record.metadata}
    name = Path(file).name.partition(".")[0]
    return Example(f"{name}-{line}", render(puzzle), render(solution), metadata=metadata)
