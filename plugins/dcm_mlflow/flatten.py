"""Nested JSON values as the flat names and texts that MLflow stores."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from time import time_ns
from typing import Any, NamedTuple

PARAM_LENGTH = 6000
TAG_LENGTH = 8000
NAME_LENGTH = 250

_TAGS = ("versions", "git_commit", "fingerprints", "chosen", "directory", "key")
"""What of a description says where a run comes from rather than what it does. What a run chose
itself is there too: a comparison opens on the parameters that differ, which are to be the user's.
"""

_MAIN = ("certified_rate", "exact_rate", "median_steps")
"""The final numbers that stand by themselves; the others stand under `more/`, so that the first
charts of a comparison are those that tell something."""


class Point(NamedTuple):
    """One value of a metric; `time` in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


class Data(NamedTuple):
    """A data set, as MLflow lists the inputs of runs."""

    name: str
    digest: str
    source: str
    profile: str


def data(description: Mapping[str, Any]) -> Data | None:
    """The data set of a description; of a sweep over data sets all of them as one.

    Its digest is of the examples, or, where they have not been looked at, of its settings.
    """
    form, seen = description.get("dataset"), description.get("fingerprints", {}).get("examples", {})
    if not isinstance(form, Mapping):
        several = dict(description.get("sweep") or {}).get("dataset")
        if not several:
            return None
        form = {"name": several}
    name, fields = str(form["name"]), dict(form.get("params") or {})
    source = next((str(fields[key]) for key in ("path", "name") if fields.get(key)), name)
    settings = json.dumps(form, sort_keys=True, default=str)
    digest = seen.get("sha256") or hashlib.sha256(settings.encode()).hexdigest()
    rows = {"num_rows": seen["count"]} if seen else {}
    profile = json.dumps({**rows, **fields}, default=str)
    return Data(name, digest[:16], source, profile[:PARAM_LENGTH])


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
    if isinstance(marks := origin.get("fingerprints"), Mapping):
        # Those of the fields tell nothing that the parameters do not.
        origin["fingerprints"] = {key: mark for key, mark in marks.items() if key != "fields"}
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


def final(summary: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
    """A summary's numbers, those that runs are compared by first, with K and seconds a pair."""
    found = {key: value for key, value in summary.items() if key in _MAIN or "/" in key}
    found |= {key: value for key, value in summary.items() if isinstance(value, Mapping)}
    seconds, pairs = summary.get("wall_seconds"), summary.get("finished")
    if _is_number(seconds) and pairs:
        found["seconds_per_pair"] = float(seconds or 0.0) / pairs
    # Of a sweep its cells say it.
    if summary.get("examples") and _is_number(description.get("slots")):
        found["slots"] = description["slots"]
    rest = {key: value for key, value in summary.items() if key not in found}
    return {**found, "more": rest}


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
