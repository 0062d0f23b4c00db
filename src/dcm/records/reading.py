"""Checks of a record and its fields, and JSON texts."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from types import NoneType
from typing import Any

from dcm.errors import DatasetError, did_you_mean
from dcm.records.choosing import Unusable
from dcm.records.files import LONGEST, open_bytes, open_text

_SOME = 20  # names are told in an error


def json_document(path: str | Path) -> Any:
    """The value of a JSON file that fits into memory.

    Raises:
        DatasetError: the file is missing, no JSON, or longer than `LONGEST` characters.
    """
    with open_text(path) as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        asked = f"the file is longer than {LONGEST} characters"
        raise DatasetError(asked, "", "Split it", place=str(path))
    return parse_json(text, str(path))


def parse_json(text: str, place: str) -> Any:
    """The value of a JSON text.

    Raises:
        DatasetError: it is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        where = f"{place}:{line}" if line > 1 else place
        raise DatasetError("the text is no JSON", str(error), place=where) from error


def field(record: Any, name: str, kind: type | tuple[type, ...], place: str) -> Any:
    """`record[name]`, checked.

    Raises:
        DatasetError: record is no object, has no such field, or one of another type.
    """
    if not isinstance(record, dict):
        raise DatasetError(f"an object is expected, not {type(record).__name__}", place=place)
    if name not in record:
        there = f"It has {names_of(record)}"
        do = did_you_mean(name, list(record)[:_SOME]) if record else ""
        raise DatasetError(f"field {name!r} is missing", there, do, place=place)
    value = record[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(each.__name__ for each in kinds)
        raise DatasetError(
            f"field {name!r} must be {wanted}, not {type(value).__name__}", place=place
        )
    return value


def identifier(record: Any, name: str, place: str) -> str:
    """`record[name]` as an id: text, or a whole number written as text.

    Raises:
        DatasetError: it is missing, of another type, or blank.
    """
    value = field(record, name, (str, int), place)
    if isinstance(value, bool) or not str(value).strip():
        raise DatasetError(f"field {name!r} must be an id, not {value!r}", place=place)
    return str(value)


def texts(value: Any, name: str, place: str) -> tuple[str, ...]:
    """The different texts of a list that are not blank, in order.

    Raises:
        DatasetError: it is no list of texts.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise DatasetError(f"field {name!r} must be a list of texts", place=place)
    return tuple(dict.fromkeys(each for each in value if each.strip()))


def spelling(names: Iterable[str], name: str) -> str:
    """The one of `names` that stands for `name`: itself, else the only one that differs from it in
    case and white space around it alone; `name` where there is none."""
    names = tuple(names)
    if name in names:
        return name
    alike = [each for each in names if each.strip().casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else name


def written(value: Any, name: str, place: str) -> tuple[str, ...]:
    """The different texts that a field holds: a text, a number written as text, a list of them, or
    none for null. Blank ones are left out.

    Raises:
        DatasetError: it holds something else.
    """
    found: dict[str, None] = {}
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, bool) or not isinstance(each, str | int | float | NoneType):
            asked = f"field {name!r} must be text, a number or a list of them"
            raise DatasetError(asked, f"It holds {each!r:.60}", place=place)
        found[_as_text(each)] = None
    return tuple(each for each in found if each.strip())


def _as_text(value: str | float | None) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return ""  # how tables of numbers write "none"
        # Columns of whole numbers become such numbers where one is missing.
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return "" if value is None else str(value)


def question_text(record: Any, name: str, place: str) -> str:
    """`record[name]` as a question.

    Raises:
        Unusable: it is blank.
        DatasetError: it is missing or no text.
    """
    text: str = field(record, name, str, place)
    if not text.strip():
        raise Unusable("without a question")
    return text


def numbered(prefix: str, place: str) -> str:
    """An id made of the line or index that ends a place: "data.jsonl:12" gives "prefix-000012".

    Such ids stay as they are under another limit, offset or seed.
    """
    found = re.search(r"([0-9]+)\]?$", place)
    return f"{prefix}-{int(found[1]):06}" if found else f"{prefix}-{place}"


def head(path: str | Path) -> bytes:
    """The first bytes of a file, at most 4,096, without white space and byte order mark before
    them: enough to tell layouts apart.

    Raises:
        DatasetError: the file cannot be read.
    """
    with open_bytes(path) as file:
        return file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()


def names_of(names: Collection[str]) -> str:
    """Names for a message, the first of many."""
    some = ", ".join(map(repr, list(names)[:_SOME]))
    return f"{some or 'none'}{' and more' if len(names) > _SOME else ''}"
