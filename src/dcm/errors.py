"""Errors a user can act on: each says what was asked, what is there and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DcmError(Exception):
    """Base of every error that dcm raises on purpose.

    Args:
        asked: what was asked for, or what went wrong with it.
        there: what is there instead.
        do: what the reader can do about it.
    """

    exit_status = 1

    def __init__(self, asked: str, there: str = "", do: str = "") -> None:
        super().__init__(asked, there, do)
        self.asked, self.there, self.do = asked, there, do

    def __str__(self) -> str:
        parts = (part.strip().rstrip(".") for part in (self.asked, self.there, self.do))
        return " ".join(part if part.endswith(("?", "!")) else f"{part}." for part in parts if part)


class UsageError(DcmError):
    """The request itself is wrong: an unknown name or key, or a value out of range."""

    exit_status = 2


class PluginError(DcmError):
    """A plugin cannot be loaded, or its name is ambiguous."""


class DatasetError(DcmError):
    """A data set cannot be read. `place` names the file and the line, JSON path or id."""

    def __init__(self, asked: str, there: str = "", do: str = "", *, place: str = "") -> None:
        super().__init__(f"{place}: {asked}" if place else asked, there, do)
        self.place = place


class GeneratorError(DcmError):
    """A language model cannot be loaded, or cannot do what was asked of it."""


class RunDirectoryError(DcmError):
    """A run directory cannot be used as asked."""

    exit_status = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest known name, or lists them all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Use one of: {', '.join(names)}" if names else "There is none"
