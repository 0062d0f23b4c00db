"""Example: what it takes and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from dcm import Example


def test_lists_become_tuples() -> None:
    example = Example("1", "Why?", "So.", aliases=["Thus."], variants=["How come?"])
    assert (example.aliases, example.variants) == (("Thus.",), ("How come?",))


@pytest.mark.parametrize("field", ["id", "question", "answer"])
@pytest.mark.parametrize("value", ["", " \n", None, 5, b"bytes", "half a pair \ud83d"])
def test_what_is_no_text_is_refused(field: str, value: Any) -> None:
    fields = {"id": "1", "question": "Why?", "answer": "So."} | {field: value}
    with pytest.raises(ValueError, match=rf"{field} must be text|surrogates not allowed"):
        Example(**fields)
