"""Nested JSON values as the flat names and texts that MLflow stores."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from time import time_ns
from typing import Any, NamedTuple

PARAM_LENGTH = 6000
TAG_LENGTH = 8000
NAME_LENGTH = 250

_TAGS = ("versions", "git_commit", "fingerprints")
"""What of a description says where a run comes from rather than what it does."""


class Point(NamedTuple):
    """One value of a metric; `time` in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


def now() -> int:
    """Milliseconds since 1970."""
    return time_ns() // 1_000_000


def params(description: Mapping[str, Any]) -> dict[str, str]:
    """A description's settings, named as the command line names them.

    A component `dataset` gives `dataset`, its name, and a `dataset.<field>` for each field.
    """
    settings = {key: value for key, value in description.items() if key not in _TAGS}
    return {_legal(".".join(path)): _text(leaf)[:PARAM_LENGTH] for path, leaf in _leaves(settings)}


def tags(description: Mapping[str, Any]) -> dict[str, str]:
    """A description's versions and git commit."""
    origin = {key: description[key] for key in _TAGS if key in description}
    return {
        _legal(".".join(path)): _text(leaf)[:TAG_LENGTH]
        for path, leaf in _leaves(origin)
        if leaf is not None
    }


def points(values: Mapping[str, Any], step: int) -> list[Point]:
    """The finite numbers among nested values; MLflow's pages group names at their slashes."""
    time = now()
    return [
        Point(_legal("/".join(path)), float(leaf), time, step)
        for path, leaf in _leaves(values)
        if _is_number(leaf)
    ]


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The texts and flags among nested values."""
    return {
        _legal(".".join(path)): _text(leaf)[:TAG_LENGTH]
        for path, leaf in _leaves(values)
        if isinstance(leaf, str | bool)
    }


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and {"kind", "name", "params"} <= set(value):
        yield path, value["name"]
        value = value["params"]
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, str(index)))
    else:
        yield path, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _legal(name: str) -> str:
    """A name that MLflow takes: a relative path of letters, digits and `_-. /`."""
    parts = (re.sub(r"[^\w.\- ]", "_", part).strip(".") for part in name.split("/"))
    return "/".join(part for part in parts if part)[:NAME_LENGTH].rstrip("/") or "_"
