"""What the protocol's tests are made of."""

from __future__ import annotations

from typing import Any

import pytest


def result(id: str = "a", **changes: Any) -> dict[str, Any]:
    """A line of results.jsonl with easy numbers."""
    line = {
        "id": id,
        "status": "CONVERGED",
        "reason": "",
        "attempts": 1,
        "steps": 10,
        "row_steps": 10,
        "question": "who wrote it",
        "answer": "Ada Marsh",
        "losses": {"question": 1.0, "answer": 0.5},
        "baselines": {
            "random": {"question": 5.0, "answer": 4.0},
            "single_token": {"question": 7.0, "answer": 8.0},
            "full_context": {"question": 2.0, "answer": 1.0},
        },
        "exact": True,
        "margin": 0.5,
        "certified": True,
        "decoded": {"answer": "Ada Marsh", "question": "who wrote it"},
        "evaluations": {},
        "content": None,
    }
    return {**line, **changes}


@pytest.fixture
def make():
    return result
