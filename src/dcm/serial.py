"""describe and build: the one serial form of components, as JSON values.

A component is written `{kind, name, distribution, version, params}`; its params are its attrs
fields, in which components nest. `build(describe(component)) == component`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import attrs

from dcm.errors import DcmError, PluginError, UsageError, did_you_mean
from dcm.plugins import Plugins, Registered, installed

Description = dict[str, Any]

REMOTE_CODE = "trust_remote_code"
"""The field by which a component runs code that comes with a model. What is read from a file
never sets it."""


def describe(component: Any, plugins: Plugins | None = None) -> Description:
    """The serial form of a component.

    Raises:
        PluginError: no plugin registers its class, or it is no attrs class.
        TypeError: a field holds what JSON cannot.
    """
    plugins = plugins or installed()
    registered = _registered(component, plugins)
    params = {
        field.alias: _to_json(getattr(component, field.name), field.alias, plugins)
        for field in attrs.fields(type(component))
        if field.init
    }
    return {
        "kind": registered.kind,
        "name": registered.name,
        "distribution": registered.distribution,
        "version": registered.version,
        "params": params,
    }


def build(description: Mapping[str, Any], plugins: Plugins | None = None) -> Any:
    """The component that a serial form describes.

    Only `kind` and `name` are needed; `distribution` chooses among several providers, and
    params that are not given keep their defaults.

    Raises:
        UsageError: no serial form, an unknown kind, name or param, or a param with a wrong value.
        PluginError: the component's class cannot be imported.
    """
    plugins = plugins or installed()
    _check(description)
    kind, name = description["kind"], description["name"]
    distribution = description.get("distribution")
    if distribution and "/" not in name:
        name = f"{distribution}/{name}"
    cls = plugins.find(kind, name)
    params = {
        key: _from_json(value, plugins) for key, value in description.get("params", {}).items()
    }
    known = field_names(cls)
    for key in params:
        if key not in known:
            raise UsageError(
                f"{kind} {description['name']!r} has no field {key!r}",
                "" if known else "It has no fields",
                did_you_mean(key, known) if known else "",
            )
    asked = f"{kind} {description['name']!r} cannot be built"
    try:
        return cls(**params)
    except UsageError as error:
        raise UsageError(f"{asked}: {error.asked}", error.there, error.do) from error
    except DcmError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(asked, _misfit(cls, params) or _reason(error)) from error


def refuse_remote_code(description: Any, place: str = "") -> None:
    """Refuse a description that asks to run code that comes with a model.

    Raises:
        UsageError: the first field that does, with its dotted name.
    """
    if isinstance(description, Mapping):
        for key, value in description.items():
            # `params` is left out of the names, as `--set` leaves it out.
            below = place if key == "params" else f"{place}.{key}".lstrip(".")
            if key == REMOTE_CODE and value is not False and value is not None:
                asked = "the description asks to run Python code that comes with a model"
                do = f"If you trust that code, say so: --set {below}=true, or {REMOTE_CODE}=True"
                raise UsageError(asked, f"It says {below} = {value!r:.20}", do)
            refuse_remote_code(value, below)
    elif isinstance(description, list | tuple):
        for number, value in enumerate(description):
            refuse_remote_code(value, f"{place}.{number}".lstrip("."))


def field_names(cls: type) -> list[str]:
    """The names of a component class's fields, as `build` takes them."""
    return [field.alias for field in attrs.fields(cls) if field.init] if attrs.has(cls) else []


def is_description(value: Any) -> bool:
    """Whether a JSON value is a component's serial form."""
    return isinstance(value, Mapping) and {"kind", "name"} <= set(value)


def _check(description: Any) -> None:
    """Refuse what has not the shape of a serial form."""
    asked = "a component is an object with kind and name, and perhaps params"
    if not isinstance(description, Mapping):
        raise UsageError(asked, f"It is {description!r:.80}")
    shapes = {"kind": str, "name": str, "distribution": str, "version": str, "params": Mapping}
    if not {"kind", "name"} <= set(description) <= set(shapes):
        there = f"It has the keys {', '.join(map(repr, description))}" if description else ""
        raise UsageError(asked, there or "It is empty")
    for key, value in description.items():
        if not isinstance(value, shapes[key]):
            what = "an object" if key == "params" else "a text"
            raise UsageError(f"{key!r} of a component is {what}", f"It is {value!r:.80}")
    for key in description.get("params", {}):
        if not isinstance(key, str):
            raise UsageError("the names of params are texts", f"There is {key!r}")


def _registered(component: Any, plugins: Plugins) -> Registered:
    found = plugins.of(component)
    if found is None:
        cls = type(component)
        raise PluginError(
            f"{cls.__module__}.{cls.__qualname__} cannot be described",
            "No plugin registers it",
            "Announce it in the entry-point group 'dcm', or run it from Python without a directory",
        )
    if not attrs.has(type(component)):
        asked = f"{found.kind} {found.full_name!r} cannot be described"
        raise PluginError(asked, f"{type(component).__name__} is no attrs class", "Mend the plugin")
    return found


def _to_json(value: Any, field: str, plugins: Plugins) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"field {field!r} holds {value}, which JSON cannot write")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, frozenset | set):
        # In an order that does not change from process to process.
        return sorted((_to_json(item, field, plugins) for item in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_to_json(item, field, plugins) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value) or is_description(value):
            what = "keys that are no texts" if not is_description(value) else "kind and name"
            raise TypeError(f"field {field!r} holds a mapping with {what}: it has no serial form")
        return {key: _to_json(item, field, plugins) for key, item in value.items()}
    if attrs.has(type(value)):
        return describe(value, plugins)
    raise TypeError(f"field {field!r} holds {type(value).__name__}, which has no serial form")


def _from_json(value: Any, plugins: Plugins) -> Any:
    if is_description(value):
        return build(value, plugins)
    if isinstance(value, list):
        return tuple(_from_json(item, plugins) for item in value)
    if isinstance(value, Mapping):
        return {key: _from_json(item, plugins) for key, item in value.items()}
    return value


def _misfit(cls: type, params: Mapping[str, Any]) -> str:
    """The first param that is of another type than its field; empty where none shows."""
    try:
        hints = get_type_hints(cls)
    except (NameError, TypeError):  # a type that is imported for type checkers alone
        return ""
    for field in attrs.fields(cls):
        hint = hints.get(field.name)
        types = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        if field.alias in params and set(types) <= {int, float, bool, str, NoneType}:
            value = params[field.alias]
            admitted = {*types, *({int} if float in types else ())}
            if type(value) not in admitted:
                return f"Field {field.alias!r} is {field.type}, not {value!r:.80}"
    return ""


def _reason(error: Exception) -> str:
    # attrs validators raise with (message, attribute, ...): the message is what a reader needs.
    return str(error.args[0]) if error.args else type(error).__name__
