"""Grids in Python: an experiment with every combination of values of some fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from typing import Any

import attrs

from dcm.errors import UsageError
from dcm.running.experiment import Experiment
from dcm.serial import describe
from dcm.sweeping.cells import Cell


def grid(experiment: Experiment, axes: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """The cells of all combinations of values.

    Args:
        experiment: what all cells share.
        axes: dotted key, as `--set` takes it, such as `slots` or `optimizer.inner.lr` -> values;
            those of a component's key are components or names.

    Raises:
        UsageError: there is no such key, or it does not admit a value.
    """
    cells = []
    for values in product(*axes.values()):
        changed, settings = experiment, dict[str, Any]()
        # As on the command line, a component's choice comes before its fields.
        for key, value in sorted(zip(axes, values, strict=True), key=lambda at: at[0].count(".")):
            changed = with_value(changed, key, value)
        for key in axes:
            found = value_at(changed, key)
            settings[key] = describe(found) if attrs.has(type(found)) else _plain(found)
        cells.append(Cell(settings, changed))
    return cells


def with_value(component: Any, key: str, value: Any, above: str = "") -> Any:
    """A component with another value at a dotted key below it."""
    head, _, rest = key.partition(".")
    field = _field(component, head, above)
    if rest:
        inner = getattr(component, field.name)
        if isinstance(inner, tuple):
            number, _, rest = rest.partition(".")
            if not (number.isdecimal() and int(number) < len(inner)):
                there = f"{above}{head} is a list of {len(inner)}, numbered from 0"
                raise UsageError(f"there is no {above}{key!r} to set", there)
            member = inner[int(number)]
            place = f"{above}{head}.{number}."
            new = with_value(member, rest, value, place) if rest else value
            value = (*inner[: int(number)], new, *inner[int(number) + 1 :])
        else:
            value = with_value(inner, rest, value, f"{above}{head}.")
    try:
        return attrs.evolve(component, **{field.alias or field.name: value})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{above}{head} = {value!r:.40} was asked for", str(error)) from error


def value_at(component: Any, key: str) -> Any:
    """The value at a dotted key below a component."""
    for head in key.split("."):
        if isinstance(component, tuple):
            component = component[int(head)]
        else:
            component = getattr(component, _field(component, head, "").name)
    return component


def _field(component: Any, name: str, above: str) -> attrs.Attribute[Any]:
    known = attrs.fields(type(component)) if attrs.has(type(component)) else ()
    fields: dict[str, attrs.Attribute[Any]] = {each.alias or each.name: each for each in known}
    if name not in fields:
        there = f"There are {', '.join(fields)}" if fields else "It has no fields"
        near = get_close_matches(name, fields, n=1)
        do = f"Did you mean {above}{near[0]}?" if near else ""
        raise UsageError(f"there is no key {above}{name}", there, do)
    return fields[name]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [describe(each) if attrs.has(type(each)) else each for each in value]
    return value
