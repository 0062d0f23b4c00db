"""Sudoku: reading, solving and grading puzzles."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcm
from dcm import DatasetError, Example
from dcm_puzzles.solving import Solver
from dcm_puzzles.sudoku import Sudoku, parse, render

GRID = "".join(
    str((3 * row + row // 3 + column) % 9 + 1) for row in range(9) for column in range(9)
)
PUZZLE = "0" * 4 + GRID[4:]
SWAPPED = GRID.translate(str.maketrans("12", "21"))


def without(digits: str) -> str:
    return GRID.translate({ord(digit): "0" for digit in digits})


def written(folder: Path, text: str, name: str = "some.txt") -> str:
    path = folder / name
    path.write_bytes(text.encode())
    return str(path)


# --- formats -----------------------------------------------------------------------------------


def test_remarks_in_a_text_file_are_left_out_and_counted(tmp_path):
    dots = without("1").replace("0", ".")
    text = (
        f"3\n# made up\n{PUZZLE} // easy\n\n// more\n  # again\n{dots}\r\n{without('2')}\tlast one"
    )
    dataset = Sudoku(path=written(tmp_path, text))
    assert [example.id for example in dataset] == ["some-3", "some-7", "some-8"]
    assert [example.question for example in dataset] == [PUZZLE, without("1"), without("2")]
    assert {example.answer for example in dataset} == {GRID}
    assert dataset.skipped == {"comment line": 3, "count line": 1}
    assert dataset[0].metadata == {"givens": 77, "comment": "// easy"}
    assert dataset[1].metadata == {"givens": 72}


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("quizzes,solutions", f"{PUZZLE},{GRID}"),
        ("puzzle,solution", f"{PUZZLE},{GRID}"),
        ("sudoku", PUZZLE),
        ("question,answer", f"{PUZZLE},{GRID}"),
        ("Puzzle;Solution", f"{PUZZLE};{GRID}"),
        ("puzzle,solution", f"{PUZZLE.replace('0', '.')},"),
    ],
)
def test_csv_layouts(tmp_path, header, row):
    dataset = Sudoku(path=written(tmp_path, f"\ufeff{header}\r\n{row}\r\n", "some.part.csv"))
    assert list(dataset) == [Example("some-2", PUZZLE, GRID, metadata={"givens": 77})]


def test_other_columns_are_kept_as_metadata(tmp_path):
    path = written(tmp_path, f"id,level,sudoku\n7,easy,{PUZZLE}\n", "some.csv")
    assert Sudoku(path=path)[0].metadata == {"givens": 77, "id": "7", "level": "easy"}


def test_a_csv_file_without_puzzles_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no column holds the puzzle\. It has a, b"):
        len(Sudoku(path=written(tmp_path, "a,b\n1,2\n", "some.csv")))


def test_a_file_of_solutions_goes_with_the_puzzles_in_order(tmp_path):
    one, two = without("1"), SWAPPED.replace("3", "0")
    path = written(tmp_path, f"2\n{one}\n// between\n{two}\n")
    solutions = written(tmp_path, f"# solved\n{GRID}\n{SWAPPED}\n", "solved.txt")
    dataset = Sudoku(path=path, solutions=solutions)
    assert [(e.question, e.answer) for e in dataset] == [(one, GRID), (two, SWAPPED)]


@pytest.mark.parametrize(
    ("solutions", "error"),
    [
        ("", r"some\.txt:2: .*solved\.txt has no solution"),
        (f"{GRID}\n{GRID}", "more solutions than puzzles"),
        (SWAPPED, r"solved\.txt:1: .*contradicts the puzzle. Row 1, column 1 holds 2, .* gives 1"),
        (GRID[:80], r"solved\.txt:1: a grid is 81 digits, not 80 characters"),
        (GRID[:-1] + GRID[0], r"solved\.txt:1: the solution"),
    ],
)
def test_solutions_that_do_not_fit_are_refused(tmp_path, solutions, error):
    path = written(tmp_path, f"1\n{without('9')}")
    with pytest.raises(DatasetError, match=error):
        len(Sudoku(path=path, solutions=written(tmp_path, f"{solutions}\n", "solved.txt")))


def test_a_given_solution_that_breaks_the_rules_is_refused(tmp_path):
    wrong = GRID[:80] + GRID[79]
    path = written(tmp_path, f"puzzle,solution\n{without(GRID[80])},{wrong}\n", "some.csv")
    with pytest.raises(DatasetError, match=r"some\.csv:2: the solution breaks the rules"):
        len(Sudoku(path=path))


def test_only_puzzles_with_one_solution_are_used(tmp_path):
    twice_in_a_row = "11" + "0" * 79
    text = "\n".join([without("12"), "0" * 81, twice_in_a_row, PUZZLE])
    dataset = Sudoku(path=written(tmp_path, text))
    assert [example.id for example in dataset] == ["some-4"]
    assert dataset.skipped == {"several solutions": 2, "no solution": 1}


def test_malformed_puzzles_stop_or_are_left_out(tmp_path):
    path = written(tmp_path, f"{PUZZLE}\n{PUZZLE[:-1]}\n{PUZZLE}x\n{without('5')}")
    solutions = written(tmp_path, f"{GRID}\n" * 4, "solved.txt")
    with pytest.raises(DatasetError, match=r"some\.txt:2: the line has no puzzle"):
        len(Sudoku(path=path))
    dataset = Sudoku(path=path, solutions=solutions, on_error="skip")
    assert [example.id for example in dataset] == ["some-1", "some-4"]
    assert dataset.skipped == {"malformed": 2}


def test_malformed_rows_and_lines_take_their_solution_with_them(tmp_path):
    solutions = written(tmp_path, f"{GRID}\n{GRID}\n{SWAPPED}\n", "solved.txt")
    table = written(tmp_path, f"id,puzzle\n1,{PUZZLE}\n2\n3,{SWAPPED}\n", "some.csv")
    lines = tmp_path / "some.txt"
    lines.write_bytes(f"{PUZZLE}\n".encode() + b"\xff\n" + SWAPPED.encode())
    for path in (table, str(lines)):
        dataset = Sudoku(path=path, solutions=solutions, on_error="skip")
        assert [example.answer for example in dataset] == [GRID, SWAPPED]
        assert dataset.skipped == {"malformed": 1}


def test_the_solver_package_is_needed_only_to_solve(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pysat", None)
    monkeypatch.setitem(sys.modules, "pysat.solvers", None)
    path, solutions = written(tmp_path, PUZZLE), written(tmp_path, GRID, "solved.txt")
    assert Sudoku(path=path, solutions=solutions)[0].answer == GRID
    with pytest.raises(DatasetError, match=r"Install dynamic-context-memory\[puzzles\]"):
        len(Sudoku(path=path))


# --- solving -----------------------------------------------------------------------------------


def test_one_solver_tells_none_one_and_several_apart_in_any_order():
    solver = Solver()
    one, grid = parse(without("7")), parse(GRID)
    for _ in range(2):
        assert solver.solve((1, 1, *[0] * 79)) == ()
        assert solver.solve(one) == (grid,)
        assert set(solver.solve(parse(without("12")))) == {grid, parse(SWAPPED)}
        assert solver.solve(grid) == (grid,)
        assert len(solver.solve((0,) * 81)) == 2


# --- text form ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), min_size=81, max_size=81).map(tuple))
def test_render_and_parse_are_inverse(cells):
    assert parse(render(cells)) == cells


@given(st.text("0123456789. \n\u0663", min_size=78, max_size=83) | st.text())
def test_parse_takes_only_what_render_writes(text):
    try:
        cells = parse(text)
    except ValueError:
        return
    assert render(cells) == text


@pytest.mark.parametrize("cells", [[1] * 80, [1] * 80 + [10], [-1] * 81])
def test_render_refuses_what_is_no_grid(cells):
    with pytest.raises(ValueError, match="81 digits"):
        render(cells)


# --- grading -----------------------------------------------------------------------------------


def grades(text: str) -> list[float]:
    example = Example("1", without("1"), GRID)  # 72 givens
    found = Sudoku(path="unread").grade(example, text)
    return [found[name] for name in ("valid", "givens_kept", "cells_right", "solved")]


def test_grades():
    assert grades(GRID) == grades(f" {GRID}\n") == [1, 1, 1, 1]
    assert grades(without("1")) == [0, 1, 72 / 81, 0]
    assert grades(SWAPPED) == [1, 63 / 72, 63 / 81, 0]
    assert grades("0" + GRID[1:]) == [0, 1, 80 / 81, 0]
    assert grades("5" * 81) == [0, 8 / 72 + 1 / 72, 9 / 81, 0]
    assert grades(GRID[:80]) == grades(GRID + "1") == grades("") == [0, 0, 0, 0]


# --- real files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "count", "givens"),
    [
        ("kids_puzzles", 10_000, range(49, 52)),
        ("easy_puzzles", 10_000, range(31, 33)),
        ("medium_puzzles", 10_000, range(29, 31)),
        ("expert_puzzles", 10_000, range(27, 30)),
        ("evil_puzzles", 10_000, range(17, 18)),
        ("sudoku17", 49_150, range(17, 18)),
    ],
)
def test_real_puzzles_with_solutions(data, file, count, givens):
    path = data / "sudoku/lines81" / f"{file}.txt"
    solutions = path.with_name(file.removesuffix("_puzzles") + "_solutions.txt")
    dataset = Sudoku(path=str(path), solutions=str(solutions))
    assert len(dataset) == count
    assert dataset.skipped == {}
    assert {example.metadata["givens"] for example in dataset} <= set(givens)
    computed = Sudoku(path=str(path), limit=100)
    assert [e.answer for e in computed] == [dataset[index].answer for index in range(100)]


@pytest.mark.parametrize(
    ("file", "limit", "count"),
    [
        ("lines81/easy_50.txt", None, 50),
        ("lines81/norvig_sudoku10k.txt", 500, 500),
        ("csv/kyubyong_test.csv", None, 30),
        ("csv/tianlan_levels.csv", None, 26),
        ("csv/kaggle_3m_puzzle_solution_difficulty.part.csv", None, 7034),
        ("csv/kaggle_1m_quizzes_solutions.part.csv", None, 20_000),
    ],
)
def test_counts_of_other_real_files(data, file, limit, count):
    dataset = Sudoku(path=str(data / "sudoku" / file), limit=limit)
    assert len(dataset) == count
    assert dataset.skipped == {}
    assert all(dataset.grade(e, e.answer)["solved"] for e in islice(dataset, 100))


def test_order_and_part_of_a_real_file(data):
    path = str(data / "sudoku/csv/kyubyong_test.csv")
    everything = list(Sudoku(path=path))
    assert list(Sudoku(path=path, offset=3, limit=5)) == everything[3:8]
    mixed = list(Sudoku(path=path, seed=1))
    assert mixed != everything
    assert sorted(e.id for e in mixed) == sorted(e.id for e in everything)


# --- form and robustness -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset", [Sudoku(path="a"), Sudoku("a", "b", limit=3, offset=1, seed=0, on_error="skip")]
)
def test_describe_and_build(dataset):
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


LINES = f"2\n{PUZZLE} // comment\n{without('12')}\n".encode()
TABLE = f"puzzle,solution\n{PUZZLE},{GRID}\n{without('1')},\n".encode()


@settings(deadline=None)
@given(data_=st.data(), csv=st.booleans(), on_error=st.sampled_from(["stop", "skip"]))
def test_damaged_files_are_read_or_refused(scratch, data_, csv, on_error):
    good = TABLE if csv else LINES
    content = data_.draw(
        st.binary(max_size=200)
        | st.integers(0, len(good)).map(lambda end: good[:end])
        | st.tuples(st.integers(0, len(good) - 1), st.binary(max_size=3)).map(
            lambda change: good[: change[0]] + change[1] + good[change[0] + 1 :]
        )
    )
    path = scratch / ("fuzzed.csv" if csv else "fuzzed.txt")
    path.write_bytes(content)
    try:
        examples = list(Sudoku(path=str(path), on_error=on_error))
    except DatasetError:
        return
    assert all(Sudoku(path="").grade(e, e.answer)["solved"] for e in examples)
