"""ARC-AGI tasks: coloured grids as text."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from dcm import DatasetError, Example, TaskDataset
from dcm.fields import one_of, whole
from dcm.reading import OnError, field, files_in, json_document, path_text
from dcm_puzzles.grids import (
    COLOURS,
    MOST,
    Augmentation,
    Grid,
    Pair,
    parse,
    render,
    render_question,
)


@attrs.frozen
class _Task:
    name: str
    demonstrations: tuple[Pair, ...]
    tests: tuple[tuple[Grid, Grid | None], ...]


@attrs.frozen
class Arc(TaskDataset):
    """ARC-AGI-1 and -2 (Chollet 2019, arXiv 1911.01547): one example for each test input.

    The question is the demonstrations and the test input, the answer is the output, as text: a
    digit a cell, a row a line; a line "->" between a demonstration's input and output; a blank
    line after each demonstration (`dcm_puzzles.grids`: `render`, `parse`, `render_question`,
    `parse_question`). Ids are "<task>-<test>", tests counted from 0. Test inputs whose output is
    hidden are left out and counted.

    Augmented copies follow the originals, round by round. Each is a reflection, a rotation and a
    permutation of the ten colours of the whole task, chosen by (seed, task, copy). Their ids end
    in "~<copy>", and `metadata["augmentation"]` says what was done: `Augmentation(**it).invert`
    takes a generated grid back.

    Attributes:
        path: a task's JSON file, a folder of them, or a file that maps ids to tasks, as the
            challenges files of the ARC Prize.
        solutions: a file that maps ids to lists of test outputs, in place of those in the tasks.
        demonstrations: how many of a task's first demonstrations to show; None for all, 0 for
            the test input alone.
        augment: how many augmented copies of each task to add.
        seed: chooses the augmentations.
        limit: how many examples to take at most, copies included; None for all.
        offset: how many examples to pass over.
        on_error: "skip" leaves out malformed tasks, "stop" raises.
    """

    path: str = attrs.field(converter=path_text)
    solutions: str | None = attrs.field(
        default=None, converter=attrs.converters.optional(path_text)
    )
    demonstrations: int | None = attrs.field(default=None, validator=whole(0, optional=True))
    augment: int = attrs.field(default=0, validator=whole(0))
    seed: int = 0
    limit: int | None = attrs.field(default=None, validator=whole(1, optional=True))
    offset: int = attrs.field(default=0, validator=whole(0))
    on_error: OnError = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def __len__(self) -> int:
        originals = len(self._read[0])
        left = originals * (1 + self.augment) - self.offset
        if left <= 0:
            there = f"There are {originals} test inputs with an output"
            raise DatasetError("the set is empty", there, "Check path and offset")
        return left if self.limit is None else min(left, self.limit)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        originals = self._read[0]
        copy, original = divmod(self.offset + index, len(originals))
        task, test, output = originals[original]
        metadata: dict[str, Any] = {"task": task.name, "test": test}
        change = Augmentation()
        if copy:
            change = _chosen(f"{self.seed} {task.name} {copy}")
            metadata["augmentation"] = {
                **attrs.asdict(change),
                "colours": list(change.colours),  # JSON has no tuples
            }
        shown = [
            (change.apply(before), change.apply(after))
            for before, after in task.demonstrations[: self.demonstrations]
        ]
        return Example(
            f"{task.name}-{test}" + (f"~{copy}" if copy else ""),
            render_question(shown, change.apply(task.tests[test][0])),
            render(change.apply(output)),
            metadata=metadata,
        )

    @property
    def skipped(self) -> Mapping[str, int]:
        return self._read[1]

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """`exact_grid`; `size_right`; `cell_accuracy`, the share of right cells if the size is.

        All are 0.0 for a text that is no grid.
        """
        scores = {"exact_grid": 0.0, "size_right": 0.0, "cell_accuracy": 0.0}
        try:
            grid = parse(text.strip())
        except ValueError:
            return scores
        answer = parse(example.answer)
        if (len(grid), len(grid[0])) == (len(answer), len(answer[0])):
            found, wanted = sum(grid, ()), sum(answer, ())
            right = sum(map(int.__eq__, found, wanted)) / len(wanted)
            scores = {"exact_grid": float(right == 1), "size_right": 1.0, "cell_accuracy": right}
        return scores

    @cached_property
    def _read(self) -> tuple[list[tuple[_Task, int, Grid]], dict[str, int]]:
        """(task, number of the test, its output) of all usable tests, and counts of the others."""
        originals = []
        skipped: Counter[str] = Counter()
        for task in self._tasks():
            if task is None:
                skipped["malformed"] += 1
                continue
            for number, (_, output) in enumerate(task.tests):
                if output is None:
                    skipped["hidden output"] += 1
                else:
                    originals.append((task, number, output))
        return originals, dict(skipped)

    def _tasks(self) -> Iterator[_Task | None]:
        """All tasks; None for a malformed one that is to be left out."""
        solutions = None if self.solutions is None else _object(self.solutions)
        path = Path(self.path)
        files = files_in(path, ".json")
        for file in files:
            try:
                found = _object(file)
            except DatasetError:
                if self.on_error == "stop" or not path.is_dir():
                    raise
                yield None
                continue
            alone = "train" in found or "test" in found
            for name, value in ({file.stem: found} if alone else found).items():
                place = f"{file}: " if alone else f"{file}: {name}."
                try:
                    yield _task(name, value, place, solutions, self.solutions)
                except DatasetError:
                    if self.on_error == "stop":
                        raise
                    yield None


def _chosen(key: str) -> Augmentation:
    draw = random.Random(key)  # noqa: S311 - not for cryptography
    colours = tuple(draw.sample(range(COLOURS), COLOURS))
    return Augmentation(draw.random() < 0.5, draw.randrange(4), colours)


def _object(path: str | Path) -> dict[str, Any]:
    found = json_document(path)
    if not isinstance(found, dict) or not found:
        raise DatasetError("the file must hold a JSON object of tasks", place=str(path))
    return found


def _task(
    name: str, value: Any, place: str, solutions: dict[str, Any] | None, solutions_path: str | None
) -> _Task:
    whole = place.rstrip(": .")
    if not name.isprintable():
        raise DatasetError(f"{name!r} is no id for a task", "It is not printable", place=whole)
    train, tests = (field(value, part, list, whole) for part in ("train", "test"))
    if not tests:
        raise DatasetError("'test' is empty", "", "A task has a test input", place=whole)
    shown = tuple(_pair(pair, f"{place}train[{number}]") for number, pair in enumerate(train))
    if solutions is None:
        outputs = [
            _grid(test["output"], f"{place}test[{number}].output")
            if isinstance(test, dict) and test.get("output") is not None
            else None
            for number, test in enumerate(tests)
        ]
    else:
        solved = field(solutions, name, list, str(solutions_path))
        at = f"{solutions_path}: {name}"
        if len(solved) != len(tests):
            there = f"It has {len(solved)} outputs, the task has {len(tests)} test inputs"
            raise DatasetError("the solution does not fit its task", there, place=at)
        outputs = [_grid(output, f"{at}[{number}]") for number, output in enumerate(solved)]
    inputs = [_side(test, "input", f"{place}test[{number}]") for number, test in enumerate(tests)]
    return _Task(name, shown, tuple(zip(inputs, outputs, strict=True)))


def _pair(value: Any, place: str) -> Pair:
    return _side(value, "input", place), _side(value, "output", place)


def _side(value: Any, side: str, place: str) -> Grid:
    return _grid(field(value, side, list, place), f"{place}.{side}")


def _grid(value: Any, place: str) -> Grid:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST:
        there = (
            f"It is a list of {len(value)}" if isinstance(value, list) else f"It is {value!r:.40}"
        )
        raise DatasetError(f"a grid is a list of 1 to {MOST} rows", there, place=place)
    for number, row in enumerate(value):
        at = f"{place}[{number}]"
        if not isinstance(row, list) or not 1 <= len(row) <= MOST:
            raise DatasetError(f"a row is a list of 1 to {MOST} cells", place=at)
        if len(row) != len(value[0]):
            there = f"It has {len(row)} cells, the first row has {len(value[0])}"
            raise DatasetError("the grid is not rectangular", there, place=at)
        for column, cell in enumerate(row):
            if type(cell) is not int or not 0 <= cell < COLOURS:
                there = f"It is {cell!r:.40}"
                raise DatasetError(
                    "a cell is a whole number 0 to 9", there, place=f"{at}[{column}]"
                )
    return tuple(map(tuple, value))
