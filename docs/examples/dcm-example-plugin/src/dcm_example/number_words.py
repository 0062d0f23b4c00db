"""Numbers, and how they are written as words."""

from __future__ import annotations

import attrs

from dcm import Example, TaskDataset

ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty"}


@attrs.frozen
class NumberWords(TaskDataset):
    """Questions such as "How is 42 written?" -> "forty-two".

    Attributes:
        first: the first number, 20 at least.
        count: how many numbers, up to 59 at most.

    Raises:
        ValueError: a number would be below 20 or above 59.
    """

    first: int = 20
    count: int = 4

    def __attrs_post_init__(self) -> None:
        if self.first < 20 or not 1 <= self.count <= 60 - self.first:
            raise ValueError(f"{self.count} numbers from {self.first} are not within 20 to 59")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        number = self.first + index
        return Example(id=str(number), question=f"How is {number} written?", answer=words(number))

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """`right`: the text is the answer, with or without its hyphen."""
        found, wanted = (each.replace("-", " ").split() for each in (text, example.answer))
        return {"right": float(found == wanted)}


def words(number: int) -> str:
    """A number from 20 to 59 in words."""
    tens, ones = TENS[number // 10 * 10], ONES[number % 10]
    return tens if number % 10 == 0 else f"{tens}-{ones}"
