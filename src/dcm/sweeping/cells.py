"""Cell: a point of a sweep, with a name that can be read and is a folder's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from dcm.running.experiment import Experiment
from dcm.serial import is_description

_LONGEST = 100  # characters of a folder's name, of which file systems take 255 bytes


@attrs.frozen
class Cell:
    """What a sweep changes, and the experiment that comes of it.

    Attributes:
        settings: dotted key -> its value's serial form, as experiment.json has it.
        experiment: with those values.
    """

    settings: Mapping[str, Any]
    experiment: Experiment

    @property
    def name(self) -> str:
        """Of its folder: `slots=4,dataset=squad`."""
        return name_of(self.settings)


def name_of(settings: Mapping[str, Any]) -> str:
    """The name of the folder of a cell, which tells different settings apart."""
    name, changed = "", False
    for key, value in settings.items():
        text = shown(value)
        plain = re.sub(r"[^\w.+-]", "_", text)
        # A component's fields, and characters that no folder should have, are told by a hash.
        changed |= plain != text or (is_description(value) and bool(value.get("params")))
        name += f"{',' if name else ''}{key}={plain}"
    if changed or len(name) > _LONGEST:
        mark = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:8]
        name = f"{name[:_LONGEST]}-{mark}"
    return name


def shown(value: Any) -> str:
    """A value for a reader: a component by its name, a path by its last part."""
    if is_description(value):
        return str(value["name"])
    if isinstance(value, str):
        return Path(value).name if Path(value).is_absolute() else value
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else json.dumps(value)
