"""Evaluations: what evaluators and data sets say of an outcome, checked and summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcm.evaluator import Evaluation, Evaluator
from dcm.serial import describe


def flat(evaluation: Any) -> Evaluation:
    """An evaluation, flat and of JSON values.

    Raises:
        TypeError: it is not.
        UnicodeEncodeError: a text in it is none.
    """
    if not isinstance(evaluation, Mapping):
        raise TypeError(f"It gave {type(evaluation).__name__}, not a mapping")
    for key, value in evaluation.items():
        if isinstance(value, int) and abs(value) >= 10**300:
            raise TypeError(f"It gave {key!r}: a number that no float can hold")
        if not isinstance(key, str) or not isinstance(value, float | int | bool | str):
            raise TypeError(f"It gave {key!r}: {type(value).__name__}, not a number, flag or text")
        (
            key + value if isinstance(value, str) else key
        ).encode()  # half a surrogate pair is no text
    return dict(evaluation)


def name_of(evaluator: Evaluator) -> str:
    """The name under which an evaluator's judgements are kept."""
    return str(describe(evaluator)["name"])


def means(evaluations: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """The mean of every number in them."""
    found: dict[str, list[float]] = {}
    for evaluation in evaluations:
        for key, value in evaluation.items():
            if isinstance(value, int | float):
                found.setdefault(key, []).append(float(value))
    return {key: sum(values) / len(values) for key, values in found.items()}
