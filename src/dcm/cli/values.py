"""The values of `--set`: TOML where it is TOML, else plain text, as the field admits."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from dcm.cli.fields import Field, component
from dcm.errors import UsageError

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "none",
    tuple: "a list",
    list: "a list",
    Sequence: "a list",
}


def parse(key: str, text: str, field: Field) -> Any:
    """The serial form of a value that was written for a field.

    Args:
        key: the whole dotted key, for messages.
        text: what was written.
        field: the field.

    Raises:
        UsageError: the field does not admit it.
    """
    if text == "none" and field.admits_none:
        return None
    value = _toml(text)
    if field.kind is None:
        return _fit(key, text, value, field.types)
    if not field.many:
        return _component(key, field.kind, value, text)
    members = value if isinstance(value, list) else [value]
    return [_component(key, field.kind, member, text) for member in members]


def parse_member(key: str, text: str, field: Field) -> Any:
    """The same for one member of a field that holds a sequence."""
    value = _toml(text)
    return value if field.kind is None else _component(key, field.kind, value, text)


def _toml(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}\n")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text could smuggle in other keys; JSON has no dates and no infinity.
    return parsed["value"] if len(parsed) == 1 and _is_json(parsed["value"]) else text


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int)


def _component(key: str, kind: str, value: Any, text: str) -> Any:
    if isinstance(value, Mapping) and "name" in value:
        return {"kind": kind, **value}
    if isinstance(value, Mapping | list):
        asked = f"{key} = {text} was asked for"
        raise UsageError(asked, f"{key} is a component", f"Give the name of a {kind}")
    return component(kind, value if isinstance(value, str) else text)


def _fit(key: str, text: str, value: Any, types: tuple[Any, ...]) -> Any:
    """The value as one of the types; text stays text where only that is admitted."""
    known = [get_origin(each) or each for each in types]
    if not all(each in _WORDS for each in known):
        return value
    if isinstance(value, list):
        for each in types:
            if get_origin(each) in (tuple, list, Sequence):
                members = tuple(arg for arg in get_args(each) if arg is not Ellipsis)
                return [_fit(key, str(member), member, members) for member in value]
    elif type(value) in known:
        return value
    elif float in known and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if str in known:
        return text
    if not known:
        return value
    words = " or ".join(dict.fromkeys(_WORDS[each] for each in known))
    raise UsageError(f"{key} = {text} was asked for", f"{key} is {words}")
