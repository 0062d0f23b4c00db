"""Arithmetic problems: generated without storing any, or read from a file."""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import attrs

from dcm import DatasetError, Example, TaskDataset
from dcm.fields import one_of, whole
from dcm.reading import Collected, OnError, Unusable, collect, field, json_lines

_RESULT: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,  # only exact divisions are asked
}
_ROUNDS = 4  # of a Feistel network; three already make a pseudo-random permutation
_MOST_DIGITS = 30
_MOST_DIGITS_DIVIDED = 9  # exact divisions are counted in time and memory of 10 ** (digits / 2)
_NUMBER = re.compile(
    r"(?P<sign>[-+\u2212]?)\s?\$?(?P<size>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?)"
)
_ANSWER_FIELDS = ("completion", "continuation", "answer")


@attrs.frozen
class Arithmetic(TaskDataset):
    """Problems such as "12+7=?" -> "19", generated, or those of a JSONL file.

    Generated problems are distinct; the operations take turns, and one that has no problems left
    is passed over. A longer set begins with a shorter one of the same seed. Ids are the problem,
    "12+7". A division has a whole result, a difference may be negative.

    A file has one object a line: a text in `question` or `context` and the answer in `answer`,
    `completion` or `continuation`, as in the files of GPT-3, llm-foundry, SVAMP and GSM8K. Of a
    question framed as "Q: ... A:" the frame is taken off; of an answer with "####", what follows
    is the answer and the whole is `metadata["solution"]`. Ids are the file's name and line.

    Attributes:
        operations: which of + - * / to ask.
        digits: most digits of an operand; operands are drawn uniformly from 0 to 99...9.
        count: how many problems to generate.
        seed: chooses the generated problems and their order.
        path: a JSONL file to read instead of generating; the four fields above then mean nothing.
        limit: how many to take at most; None for all.
        offset: how many to pass over.
        on_error: "skip" leaves out malformed lines of a file, "stop" raises.

    Raises:
        ValueError: a field is out of range, or fewer than `count` problems exist.
    """

    operations: str = "+-*"
    digits: int = 2
    count: int = attrs.field(default=100, validator=whole(1))
    seed: int = 0
    path: str | None = None
    limit: int | None = attrs.field(default=None, validator=whole(1, optional=True))
    offset: int = attrs.field(default=0, validator=whole(0))
    on_error: OnError = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def __attrs_post_init__(self) -> None:
        asked = self.operations
        if not asked or set(asked) - set(_RESULT) or len(set(asked)) < len(asked):
            raise ValueError(f"operations must be some of + - * /, each once, not {asked!r}")
        most = _MOST_DIGITS_DIVIDED if "/" in asked else _MOST_DIGITS
        if not 1 <= self.digits <= most:
            raise ValueError(f"digits must be 1 to {most} for {asked!r}, not {self.digits}")
        exist = sum(self._sizes.values())
        if self.path is None and self.count > exist:
            raise ValueError(
                f"count is {self.count}, but only {exist} different problems exist with operations "
                f"{asked!r} and {self.digits} digits"
            )

    def __len__(self) -> int:
        if self.path is not None:
            return len(self._read.examples)
        left = self.count - self.offset
        if left <= 0:
            raise DatasetError(
                "the set is empty", f"{self.count} are generated", f"Lower offset {self.offset}"
            )
        return left if self.limit is None else min(left, self.limit)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        if self.path is not None:
            return self._read.examples[index]
        operation, number = self._turn(self.offset + index)
        shuffled = _permuted(number, self._sizes[operation], self._keys[operation])
        left, right = self._operands(operation, shuffled)
        problem = f"{left}{operation}{right}"
        return Example(problem, f"{problem}=?", str(_RESULT[operation](left, right)))

    @property
    def skipped(self) -> Mapping[str, int]:
        return {} if self.path is None else self._read.skipped

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """`correct`: the first number in the text is the answer's. `exact_match`: same text.

        Numbers may have a sign, a $, commas between thousands and decimals: 1,234.0 is 1234.
        """
        found, wanted = parse_number(text), parse_number(example.answer)
        return {
            "correct": float(found is not None and found == wanted),
            "exact_match": float(text.strip() == example.answer.strip()),
        }

    @cached_property
    def _read(self) -> Collected:
        assert self.path is not None  # noqa: S101 - for the type checker
        return collect(
            json_lines(self.path),
            _parse,
            offset=self.offset,
            limit=self.limit,
            on_error=self.on_error,
        )

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """How many problems each operation has."""
        pairs = 10 ** (2 * self.digits)
        return {each: self._divisions[-1][1] if each == "/" else pairs for each in self.operations}

    @cached_property
    def _keys(self) -> dict[str, tuple[bytes, ...]]:
        return {
            each: tuple(
                blake2b(f"{self.seed} {each} {i}".encode(), digest_size=16).digest()
                for i in range(_ROUNDS)
            )
            for each in self.operations
        }

    @cached_property
    def _divisions(self) -> tuple[tuple[int, int], ...]:
        """(first divisor, number of exact divisions by smaller ones), for each run of divisors
        that have equally many multiples up to the largest operand; then the end."""
        largest = 10**self.digits - 1
        firsts = [1]
        while firsts[-1] <= largest:
            firsts.append(largest // (largest // firsts[-1]) + 1)
        sizes = ((after - first) * (largest // first + 1) for first, after in pairwise(firsts))
        return tuple(zip(firsts, accumulate(sizes, initial=0), strict=True))

    def _turn(self, index: int) -> tuple[str, int]:
        """The operation whose turn it is, and the number of its problem."""
        playing, start = list(self.operations), 0
        while True:
            end = min(self._sizes[each] for each in playing)
            if index < (end - start) * len(playing):
                rounds, place = divmod(index, len(playing))
                return playing[place], start + rounds
            index -= (end - start) * len(playing)
            start = end
            playing = [each for each in playing if self._sizes[each] > end]

    def _operands(self, operation: str, number: int) -> tuple[int, int]:
        numbers: int = 10**self.digits
        if operation != "/":
            return divmod(number, numbers)
        run = bisect_right(self._divisions, number, key=lambda division: division[1]) - 1
        first, before = self._divisions[run]
        divisor, result = divmod(number - before, (numbers - 1) // first + 1)
        return (first + divisor) * result, first + divisor


def parse_number(text: str) -> Decimal | None:
    """The first number in a text, or None: "the total is $1,234.50" gives 1234.50."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    size = Decimal(found["size"].replace(",", ""))
    return size if found["sign"] in ("", "+") else -size


def _permuted(index: int, size: int, keys: tuple[bytes, ...]) -> int:
    """Where a keyed permutation of 0 .. size-1 sends an index, without storing it.

    A Feistel network (Luby & Rackoff 1988) permutes 0 .. 4^h-1; walking its cycle until it is
    back below size makes it a permutation of that range (Black & Rogaway 2002).
    """
    half = ((size - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            mixed = blake2b(right.to_bytes(16), key=key, digest_size=16).digest()
            left, right = right, left ^ (int.from_bytes(mixed) & mask)
        index = left << half | right
        if index < size:
            return index


def _parse(record: Any, place: str) -> Example:
    asked = "question" if isinstance(record, dict) and "question" in record else "context"
    question = field(record, asked, str, place).strip().removeprefix("Q:").removesuffix("A:")
    answered = next((each for each in _ANSWER_FIELDS if each in record), "answer")
    solution = field(record, answered, str, place)
    answer = solution.rpartition("####")[2].strip()
    if parse_number(answer) is None:
        raise Unusable("answer without a number")
    if not question.strip():
        raise Unusable("empty question")
    rest = {key: value for key, value in record.items() if key not in (asked, answered)}
    if "####" in solution:
        rest["solution"] = solution
    file, _, line = place.rpartition(":")
    return Example(
        f"{Path(file).name.partition('.')[0]}-{line}", question.strip(), answer, metadata=rest
    )
