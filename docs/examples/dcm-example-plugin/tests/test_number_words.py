"""The data set."""

from __future__ import annotations

import pytest
from dcm_example.number_words import NumberWords

from dcm.testing.contracts import DatasetContract


class TestNumberWords(DatasetContract):
    covers = "dataset/number-words"

    @pytest.fixture
    def dataset(self) -> NumberWords:
        return NumberWords(first=39, count=4)


def test_a_number_is_written_in_words() -> None:
    examples = {example.question: example.answer for example in NumberWords(first=39, count=4)}
    assert examples["How is 40 written?"] == "forty"
    assert examples["How is 42 written?"] == "forty-two"


def test_a_grade_looks_past_the_hyphen() -> None:
    numbers = NumberWords(first=42)
    assert numbers.grade(numbers[0], "forty two") == {"right": 1.0}
    assert numbers.grade(numbers[0], "forty three") == {"right": 0.0}


def test_numbers_without_words_are_refused() -> None:
    with pytest.raises(ValueError, match="20 to 59"):
        NumberWords(first=58, count=3)
