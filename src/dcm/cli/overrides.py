"""What to run, put together from an experiment.json, chosen components and `--set`.

All of it works on the serial form, so that a component may be named in one place and get its
required fields in another; `check` says what is still missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard

import attrs

from dcm.cli.fields import Field, fields_of
from dcm.cli.values import parse, parse_member
from dcm.errors import UsageError
from dcm.plugins import find
from dcm.running.description import ORIGIN
from dcm.running.run_directory import EXPERIMENT
from dcm.serial import REMOTE_CODE, Description, build, is_description, refuse_remote_code
from dcm.tracking import Tracker

TRACKER = "tracker"
_DEEPEST = 8  # components in components


def read_form(path: Path) -> Description:
    """The serial form in an experiment.json.

    Raises:
        UsageError: there is none.
    """
    asked = f"{path} is no experiment"
    if (path / EXPERIMENT).is_file():
        path = path / EXPERIMENT
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(asked, "It is a pipe or a device", "Name the experiment.json of a run")
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        there = "It is a folder without a run" if path.is_dir() else str(error.strerror)
        do = "Name the experiment.json of a run, or its folder"
        raise UsageError(asked, there, do) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(asked, f"It is no JSON: {error}") from error
    if not isinstance(form, dict):
        raise UsageError(asked, "It is no JSON object")
    return {key: value for key, value in form.items() if key not in ORIGIN}


def check_remote_code(form: Description, settings: Sequence[tuple[str, str]]) -> None:
    """Refuse a file's wish to run a model's code that this command line does not have as well.

    Raises:
        UsageError: the file asks for it, and which `--set` would allow it.
    """
    allowed = {key for key, _ in settings if key.rpartition(".")[2] == REMOTE_CODE}
    without = _without(form, allowed, "")
    refuse_remote_code(without)


def _without(value: Any, allowed: set[str], place: str) -> Any:
    """A form without the keys that the command line sets itself."""
    if isinstance(value, dict):
        names = {key: place if key == "params" else f"{place}.{key}".lstrip(".") for key in value}
        return {
            key: _without(each, allowed, names[key])
            for key, each in value.items()
            if names[key] not in allowed
        }
    if isinstance(value, list):
        return [_without(each, allowed, f"{place}.{number}") for number, each in enumerate(value)]
    return value


def split(setting: str) -> tuple[str, str]:
    """Key and value of a `--set`.

    Raises:
        UsageError: it has no key or no value.
    """
    key, equals, value = (part.strip() for part in setting.partition("="))
    if not (key and equals and value):
        raise UsageError(f"--set {setting} was given", "", "Write it --set key=value")
    return key, value


def experiment_fields() -> dict[str, Field]:
    """The fields of an experiment, and the tracker."""
    from dcm.running.experiment import Experiment

    default: Any = attrs.Factory(default_tracker)
    tracker = Field(TRACKER, "Tracker", (Tracker,), TRACKER, many=False, default=default)
    return {**fields_of(Experiment), TRACKER: tracker}


def default_tracker() -> Tracker:
    """The tracker of a run for which none is chosen.

    Raises:
        DcmError: it is not installed, or cannot be imported.
    """
    tracker: Tracker = find(TRACKER, "mlflow")()
    return tracker


def override(form: Description, settings: Sequence[tuple[str, str]]) -> None:
    """Set keys of an experiment's form, in place.

    The short keys come first: `optimizer=adam` never undoes an `optimizer.lr=0.1`.

    Raises:
        UsageError: there is no such key, or it does not admit the value.
    """
    fields = experiment_fields()
    for key, value in sorted(settings, key=lambda setting: setting[0].count(".")):
        _assign(form, fields, "", key.split("."), key, value)


def check(form: Description) -> None:
    """Refuse a form with unknown or missing fields, or what is no component where one belongs.

    Raises:
        UsageError: what is wrong, and how to mend it.
    """
    _check(form, experiment_fields(), "")


def build_parts(form: Description) -> dict[str, Any]:
    """Build an experiment's components one by one, so that an error can name the key.

    Raises:
        UsageError: a component refuses its fields.
    """
    return {key: _build(value, key) for key, value in form.items()}


def _assign(
    form: dict[str, Any],
    fields: Mapping[str, Field],
    above: str,
    path: Sequence[str],
    key: str,
    text: str,
) -> None:
    """Set `path` in the params `form` of the component at `above`."""
    head, *rest = path
    if head not in fields:
        raise _unknown(key, form, fields, above)
    field, place = fields[head], f"{above}{head}"
    if not rest:
        form[head] = parse(key, text, field)
        return
    if head not in form and not field.required:
        form[head] = field.default_form()
    current = form.get(head)
    if isinstance(current, list) and field.many:
        index = _index(key, place, rest[0], len(current))
        place, rest = f"{place}.{rest[0]}", rest[1:]
        if not rest:
            current[index:] = [parse_member(key, text, field), *current[index + 1 :]]
            return
        current = current[index] if index < len(current) else None
    if not _is_component(current):
        asked = f"there is no {key!r} to set"
        if field.kind is None:
            raise UsageError(asked, f"{place} is a value", f"Write it --set {place}=value")
        raise UsageError(asked, f"{place} is not chosen", f"Choose it by --set {place}=NAME")
    _assign(
        current.setdefault("params", {}), _component_fields(current), f"{place}.", rest, key, text
    )


def _index(key: str, place: str, text: str, length: int) -> int:
    """A member's number; one more than there are adds one."""
    if text.isdecimal() and int(text) <= length:
        return int(text)
    there = f"{place} is a list of {length}, numbered from 0"
    raise UsageError(f"there is no {key!r} to set", there, f"Write {place}.0 for the first")


def _unknown(
    key: str, form: Mapping[str, Any], fields: Mapping[str, Field], above: str
) -> UsageError:
    own = [f"{above}{name}" for name in fields]
    below = [place for place in _places(form, fields, above, _DEEPEST) if place not in own]
    last = key.rpartition(".")[2]
    namesakes = [place for place in below if place.rpartition(".")[2] == last]
    wrong = ".".join(key.split(".")[: above.count(".") + 1])
    there = f"There are {', '.join(own)}" if own else f"{above[:-1]} has no fields"
    nearest = get_close_matches(key, namesakes, n=1, cutoff=0) or get_close_matches(wrong, own, n=1)
    do = f"Did you mean {nearest[0]!r}?" if nearest else ""
    unset = [
        f"{above}{name}"
        for name, field in fields.items()
        if field.kind is not None and field.required and name not in form
    ]
    if unset and not namesakes:  # what is not chosen yet may have such a field
        do = f"Choose what it wraps by --set {unset[0]}=NAME, then set {unset[0]}.{last}"
    return UsageError(f"there is no key {wrong!r}", there, do)


def _places(
    form: Mapping[str, Any], fields: Mapping[str, Field], above: str, depth: int
) -> Iterator[str]:
    """The dotted keys of all fields in and below a component."""
    for name, field in fields.items():
        yield f"{above}{name}"
        if field.kind is None or depth == 0:
            continue
        value = form[name] if name in form else None if field.required else field.default_form()
        members = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, member in members:
            if _is_component(member):
                place = f"{above}{name}." if index is None else f"{above}{name}.{index}."
                below = _component_fields(member)
                yield from _places(member.get("params", {}), below, place, depth - 1)


def _is_component(value: Any) -> TypeGuard[Description]:
    """Whether it is the serial form of a component, and not only looks like one."""
    return (
        is_description(value)
        and isinstance(value["kind"], str)
        and isinstance(value["name"], str)
        and isinstance(value.get("params", {}), dict)
    )


def _component_fields(form: Description) -> dict[str, Field]:
    name, distribution = form["name"], form.get("distribution")
    full = f"{distribution}/{name}" if distribution and "/" not in name else name
    return fields_of(find(form["kind"], full))


def _check(form: Mapping[str, Any], fields: Mapping[str, Field], above: str) -> None:
    for name, value in form.items():
        place = f"{above}{name}"
        if name not in fields:
            raise _unknown(place, form, fields, above)
        field = fields[name]
        if field.kind is None or (value is None and field.admits_none):
            continue
        if field.many != isinstance(value, list):
            there = f"It is {'a list' if field.many else 'one component'}, not {value!r}"
            raise UsageError(f"{place} cannot be used", there)
        if not field.many:
            _check_component(value, field.kind, place)
            continue
        for number, member in enumerate(value):
            _check_component(member, field.kind, f"{place}.{number}")


def _check_component(form: Any, kind: str, place: str) -> None:
    if not _is_component(form) or form["kind"] != kind:
        do = f'Write it {{"kind": "{kind}", "name": ..., "params": {{...}}}}'
        raise UsageError(f"{place} is no {kind}", f"It is {json.dumps(form)}", do)
    params, fields = form.get("params", {}), _component_fields(form)
    missing = [name for name, field in fields.items() if field.required and name not in params]
    if missing:
        do = " ".join(f"--set {place}.{name}=VALUE" for name in missing)
        asked = f"{kind} {form['name']!r} needs {' and '.join(missing)}"
        raise UsageError(asked, "", f"Give it by {do}")
    _check(params, fields, f"{place}.")


def _build(value: Any, place: str) -> Any:
    if isinstance(value, list):
        return tuple(_build(each, f"{place}.{number}") for number, each in enumerate(value))
    if not is_description(value):
        return value
    params = value.get("params", {})
    # What is wrong deep within is told of its own place.
    for name, member in params.items() if isinstance(params, Mapping) else ():
        _build(member, f"{place}.{name}")
    try:
        return build(value)
    except UsageError as error:
        do = f"Set its fields by --set {place}.FIELD=VALUE"
        raise UsageError(error.asked, error.there, error.do or do) from error
