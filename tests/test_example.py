"""Example: what it takes and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from dcm import Example


def test_lists_become_tuples_and_a_list_of_variants_is_the_questions() -> None:
    example = Example("1", "Why?", "So.", aliases=["Thus."], variants=["How come?"])
    assert (example.aliases, example.variants) == (("Thus.",), {"question": ("How come?",)})


def test_variants_stand_by_mode_and_a_mode_without_any_is_left_out() -> None:
    example = Example("1", "Why?", "So.", variants={"question": [], "answer": ["Thus.", "Hence."]})
    assert example.variants == {"answer": ("Thus.", "Hence.")}
    assert Example("1", "Why?", "So.").variants == {}


@pytest.mark.parametrize("wrong", [[""], [5], {"answer": [" "]}, ["half a pair \ud83d"]])
def test_a_variant_that_is_no_text_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"must be texts|surrogates not allowed"):
        Example("1", "Why?", "So.", variants=wrong)


@pytest.mark.parametrize("field", ["id", "question", "answer"])
@pytest.mark.parametrize("value", ["", " \n", None, 5, b"bytes", "half a pair \ud83d"])
def test_what_is_no_text_is_refused(field: str, value: Any) -> None:
    fields = {"id": "1", "question": "Why?", "answer": "So."} | {field: value}
    with pytest.raises(ValueError, match=rf"{field} must be text|surrogates not allowed"):
        Example(**fields)
