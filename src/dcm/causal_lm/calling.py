"""Calling a model with what its forward knows, which in a user's own code may be little."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any


def knows(model: Any, name: str) -> bool:
    """Whether a model's forward takes something of this name."""
    names, any_name = _parameters(getattr(model.forward, "__func__", model.forward))
    return any_name or name in names


def named(model: Any, name: str) -> bool:
    """Whether a model's forward names it among its parameters: it then means something to it."""
    return name in _parameters(getattr(model.forward, "__func__", model.forward))[0]


def known(model: Any, **options: Any) -> dict[str, Any]:
    """Those of the options that a model's forward takes."""
    return {name: value for name, value in options.items() if knows(model, name)}


@lru_cache(maxsize=64)
def _parameters(forward: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    parameters = inspect.signature(forward).parameters.values()
    any_name = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return frozenset(each.name for each in parameters), any_name
