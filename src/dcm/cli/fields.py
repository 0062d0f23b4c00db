"""The fields of a component class: what they hold, by which name, from which default."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from dcm.hooks import KINDS
from dcm.plugins import interface
from dcm.serial import Description, describe


@attrs.frozen
class Field:
    """A field of a component class.

    Attributes:
        name: as the serial form calls it.
        annotation: its type as it is written; of a choice, the choices.
        types: the types it admits, unions taken apart; empty where they are not known.
        kind: the kind of component that it holds; None for plain values.
        many: whether it holds a sequence.
        default: as attrs has it.
    """

    name: str
    annotation: str
    types: tuple[Any, ...]
    kind: str | None
    many: bool
    default: Any

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is attrs.NOTHING

    @property
    def admits_none(self) -> bool:
        """Whether "no value" is a value of it."""
        return not self.types or NoneType in self.types

    def default_form(self) -> Any:
        """The serial form of its default; None where that depends on other fields."""
        default: Any = self.default
        factory: Any = attrs.Factory  # a class, which its type stubs call a function
        if not isinstance(default, factory):
            return to_form(default)
        return None if default.takes_self else to_form(default.factory())


def fields_of(cls: type) -> dict[str, Field]:
    """The fields of a component class, by the names that its serial form has."""
    if not attrs.has(cls):
        return {}
    try:
        hints = get_type_hints(cls)
    except NameError:  # a type that is imported for type checkers alone
        hints = {}
    found = {}
    for field in attrs.fields(cls):
        if field.init:
            types = tuple(_members(hints[field.name])) if field.name in hints else ()
            found[field.alias] = Field(
                name=field.alias,
                annotation=_written(field.type, hints.get(field.name)),
                types=types,
                kind=_kind(types),
                many=any(get_origin(each) in (tuple, list, Sequence) for each in types),
                default=field.default,
            )
    return found


def to_form(value: Any) -> Any:
    """The serial form of a field's value."""
    if isinstance(value, list | tuple):
        return [to_form(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return describe(value) if attrs.has(type(value)) else value


def component(kind: str, name: str) -> Description:
    """The serial form of a component with its defaults."""
    return {"kind": kind, "name": name, "params": {}}


def about(cls: type) -> str:
    """What a class's docstring says before its sections, a line each paragraph."""
    text = inspect.cleandoc(cls.__doc__ or "")
    text = re.split(r"^(?:Attributes|Args|Raises|Yields|Returns):$", text, flags=re.M)[0].strip()
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


def field_docs(cls: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of its fields, name -> text."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:[ ].*\n?|\n)+)", text, flags=re.M)
        if section:
            for entry in re.split(r"\n(?=    \S)", section[1].rstrip("\n")):
                name, _, description = entry.partition(":")
                found[name.strip()] = " ".join(description.split())
    return found


def _members(hint: Any) -> Iterator[Any]:
    """The types that a hint admits."""
    if get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from _members(each)
    elif get_origin(hint) is Literal:
        yield from {type(value): None for value in get_args(hint)}
    elif hint is not Any:
        yield hint


def _kind(types: tuple[Any, ...]) -> str | None:
    for each in types:
        for member in (each, *get_args(each)):
            if isinstance(member, type):
                for kind in KINDS:
                    if issubclass(member, interface(kind)):
                        return kind
    return None


def _written(annotation: Any, hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
