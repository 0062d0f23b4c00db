"""Seeded synthetic text for the bundled model: arithmetic, 9x9 digit grids and coloured grids.

Every function takes a ``random.Random`` and returns one short document, so that the same seed
always gives the same text, whatever the machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Grid = list[list[int]]

_WORDS = {"+": "plus", "-": "minus", "*": "times"}


def _number(rng: random.Random, digits: int) -> int:
    """A whole number of at most ``digits`` digits, small ones not rare."""
    return rng.randrange(10 ** rng.randint(1, digits))


def _frame(rng: random.Random, expression: str, result: int) -> str:
    """One of the ways in which a sum and its result are written."""
    spaced = expression
    for sign in "+-*":
        spaced = spaced.replace(sign, f" {sign} ")
    spoken = spaced
    for sign, word in _WORDS.items():
        spoken = spoken.replace(sign, word)
    return rng.choice(
        (
            f"Question: {expression}=?\nAnswer: {result}",
            f"Question: {expression}=?\nAnswer: {result}",
            f"Question: {expression}\nAnswer: {result}",
            f"Question: What is {spaced}?\nAnswer: {result}",
            f"Question: What is {spoken}?\nAnswer: {result}",
            f"{expression}={result}",
            f"{expression}={result}",
            f"{spaced} = {result}",
        )
    )


def arithmetic(rng: random.Random) -> str:
    """One to eight sums, products or chains, one a line or as question and answer."""
    lines = []
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        kind = rng.random()
        if kind < 0.75:
            sign = rng.choice("++--*")
            digits = rng.randint(1, 3 if sign == "*" else 5)
            left, right = _number(rng, digits), _number(rng, digits)
            result = {"+": left + right, "-": left - right, "*": left * right}[sign]
            lines.append(_frame(rng, f"{left}{sign}{right}", result))
        elif kind < 0.95:
            numbers = [_number(rng, rng.randint(1, 3)) for _ in range(rng.randint(3, 5))]
            expression, result = str(numbers[0]), numbers[0]
            for number in numbers[1:]:
                sign = rng.choice("+-")
                expression += f"{sign}{number}"
                result += number if sign == "+" else -number
            lines.append(_frame(rng, expression, result))
        else:
            number = _number(rng, 5)
            total = sum(int(digit) for digit in str(number))
            text = f"Question: What is the sum of the digits of the number {number}?"
            lines.append(f"{text}\nAnswer: {total}")
    return "\n".join(lines)


def _rows_text(grid: Grid) -> str:
    """The grid as rows of digits, one row a line."""
    return "\n".join("".join(map(str, row)) for row in grid)


def _sudoku(rng: random.Random) -> Grid:
    """A complete valid grid: the base pattern with bands, stacks, lines and digits shuffled."""

    def lines() -> list[int]:
        return [3 * b + i for b in rng.sample(range(3), 3) for i in rng.sample(range(3), 3)]

    digits = rng.sample(range(1, 10), 9)
    rows, columns = lines(), lines()
    grid = [[digits[(3 * (r % 3) + r // 3 + c) % 9] for c in columns] for r in rows]
    return [list(column) for column in zip(*grid, strict=True)] if rng.random() < 0.5 else grid


def digit_grid(rng: random.Random) -> str:
    """A puzzle with its solution, or one of the two, in 81 characters or in 9 lines."""
    grid = _sudoku(rng)
    solution = "".join(str(digit) for row in grid for digit in row)
    clues = set(rng.sample(range(81), rng.randint(17, 60)))
    empty = rng.choice("00.")
    puzzle = "".join(d if i in clues else empty for i, d in enumerate(solution))
    if rng.random() < 0.3:
        puzzle, solution = (
            "\n".join(text[i : i + 9] for i in range(0, 81, 9)) for text in (puzzle, solution)
        )
    return rng.choice(
        (
            f"Question: {puzzle}\nAnswer: {solution}",
            f"Question: {puzzle}\nAnswer: {solution}",
            f"{puzzle}\n{solution}",
            f"{puzzle},{solution}",
            puzzle,
            solution,
        )
    )


def _side(rng: random.Random) -> int:
    """A side length from 1 to 30, small ones more often."""
    return min(rng.randint(1, 30), rng.randint(3, 30))


def _structured(rng: random.Random) -> Grid:
    """A grid of digits 0-9 with rectangles, symmetry, stripes, tiles or noise."""
    height, width = _side(rng), _side(rng)
    back = 0 if rng.random() < 0.7 else rng.randrange(10)
    grid = [[back] * width for _ in range(height)]
    colours = rng.sample(range(10), rng.randint(1, 4))
    kind = rng.choice(("rectangles", "rectangles", "symmetric", "tiles", "stripes", "noise"))
    if kind in ("rectangles", "symmetric"):
        for _ in range(rng.randint(1, 6)):
            top, left = rng.randrange(height), rng.randrange(width)
            bottom = min(height, top + rng.randint(1, max(1, height // 2)))
            right = min(width, left + rng.randint(1, max(1, width // 2)))
            colour, hollow = rng.choice(colours), rng.random() < 0.3
            for r in range(top, bottom):
                for c in range(left, right):
                    if not hollow or r in (top, bottom - 1) or c in (left, right - 1):
                        grid[r][c] = colour
        if kind == "symmetric":
            grid = [row[: (width + 1) // 2] + row[: width // 2][::-1] for row in grid]
    elif kind == "tiles":
        h, w = rng.randint(1, 4), rng.randint(1, 4)
        tile = [[rng.choice(colours) for _ in range(w)] for _ in range(h)]
        grid = [[tile[r % h][c % w] for c in range(width)] for r in range(height)]
    elif kind == "stripes":
        across, step = rng.random() < 0.5, rng.randint(1, 4)
        grid = [
            [colours[((r if across else c) // step) % len(colours)] for c in range(width)]
            for r in range(height)
        ]
    if kind == "noise" or rng.random() < 0.2:
        share = rng.choice((0.05, 0.15, 0.5))
        grid = [[rng.choice(colours) if rng.random() < share else v for v in row] for row in grid]
    return grid


def _transform(rng: random.Random) -> Callable[[Grid], Grid]:
    """A random rule that turns an input grid into an output grid."""
    recolour = list(range(10))
    rng.shuffle(recolour)
    rules: tuple[Callable[[Grid], Grid], ...] = (
        lambda g: [row[::-1] for row in g],
        lambda g: [row[:] for row in g[::-1]],
        lambda g: [list(column) for column in zip(*g, strict=True)],
        lambda g: [row[::-1] for row in g[::-1]],
        lambda g: [[recolour[v] for v in row] for row in g],
        lambda g: [row + row[::-1] for row in g] if len(g[0]) <= 15 else g,
    )
    return rng.choice(rules)


def coloured_grid(rng: random.Random) -> str:
    """A grid, a pair of grids, or several pairs that share one rule."""
    if rng.random() < 0.3:
        return _rows_text(_structured(rng))
    rule = _transform(rng)
    pairs = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        grid = _structured(rng)
        pairs.append((_rows_text(grid), _rows_text(rule(grid))))
    names = rng.choice((("Input:\n", "Output:\n"), ("Question: ", "Answer: "), ("", "")))
    return "\n".join(f"{names[0]}{given}\n{names[1]}{made}" for given, made in pairs)


def documents(seed: int, characters: int) -> list[str]:
    """Documents of at least ``characters`` characters together, made from ``seed`` alone.

    By characters about two fifths are arithmetic, a quarter digit grids, the rest coloured grids.
    """
    rng = random.Random(seed)
    makers = ((arithmetic, 0.4), (digit_grid, 0.25), (coloured_grid, 0.35))
    made: list[str] = []
    for maker, share in makers:
        size = 0
        while size < characters * share:
            made.append(maker(rng))
            size += len(made[-1])
    rng.shuffle(made)
    return made
