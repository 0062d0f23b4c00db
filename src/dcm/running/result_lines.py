"""The lines of results.jsonl: reading them, and telling which are not what a run writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from dcm.outcome import Status
from dcm.running.contents import is_ref
from dcm.running.disk import on_disk, open_file


@attrs.frozen
class Line:
    """A line of results.jsonl.

    Attributes:
        number: from 1.
        raw: its bytes.
        result: what it says; None where it is damaged.
        problem: what is wrong with it; empty where nothing is.
        whole: whether it was written to its end.
    """

    number: int
    raw: bytes
    result: dict[str, Any] | None
    problem: str
    whole: bool


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file, good and bad.

    Raises:
        DcmError: the file cannot be read.
    """
    with on_disk(path, "read"), open_file(path) as file:
        for number, raw in enumerate(file, start=1):
            result, problem = parse_line(raw)
            yield Line(number, raw, result, problem, raw.endswith(b"\n"))


def parse_line(raw: bytes) -> tuple[dict[str, Any] | None, str]:
    """What a line says, or None and what is wrong with it."""
    try:
        value = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        return None, f"it is no UTF-8 text (byte {error.start})"
    except json.JSONDecodeError as error:
        return None, f"it is no JSON ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError) as error:
        return None, f"it is no JSON ({error})"
    problem = _problem(value)
    return (None, problem) if problem else (value, "")


def _problem(value: Any) -> str:
    """What is wrong with a line's value; empty where nothing is."""
    if not isinstance(value, dict):
        return "it is no JSON object"
    for key, (right, what) in _SHAPE.items():
        if key not in value:
            return f"it has no {key!r}"
        if not right(value[key]):
            return f"its {key!r} is not {what}"
    for key, (right, what) in _OPTIONAL.items():
        if key in value and not right(value[key]):
            return f"its {key!r} is not {what}"
    return ""


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) and value - value == 0) or _is_int(value)


def _is_int(value: Any) -> bool:
    # Longer ones are no floats, and nothing that is counted comes near.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**300


def _is_count(value: Any) -> bool:
    return _is_int(value) and value >= 0


def _or_none(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or right(value)


def _mapping(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping)
        and all(map(_is_text, value))
        and all(right(each) for each in value.values())
    )


def _is_evaluation(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_text(value) or _is_number(value)


def _is_interference(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"cosine", "below_zero"}
        and all(map(_is_number, value.values()))
    )


_losses = _mapping(_or_none(_is_number))

_SHAPE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda value: _is_text(value) and bool(value), "a text"),
    "status": (lambda value: value in list(Status), "a status"),
    "reason": (_is_text, "a text"),
    "attempts": (_is_count, "a whole number"),
    "steps": (_is_count, "a whole number"),
    "row_steps": (_is_count, "a whole number"),
    "question": (_is_text, "a text"),
    "answer": (_is_text, "a text"),
    "losses": (_losses, "an object of numbers"),
    "baselines": (_mapping(_losses), "an object of objects of numbers"),
    "exact": (lambda value: isinstance(value, bool), "true or false"),
    "margin": (_or_none(_is_number), "a number"),
    "certified": (_or_none(lambda value: isinstance(value, bool)), "true, false or null"),
    "decoded": (_mapping(_is_text), "an object of texts"),
    "evaluations": (_mapping(_mapping(_is_evaluation)), "an object of objects"),
    "content": (_or_none(is_ref), "a place with its checksum"),
}

# What lines of earlier versions lack.
_OPTIONAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "variant_losses": (_losses, "an object of numbers"),
    "interference": (_or_none(_is_interference), "the numbers of an interference"),
    "penalty": (_or_none(_is_number), "a number"),
    "example": (_is_text, "a fingerprint"),
}
