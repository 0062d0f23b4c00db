"""The pages for plugin authors: one for each interface, with its exact signatures."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest

from dcm.hooks import KINDS
from dcm.plugins import interface
from dcm.testing import contracts
from dcm.tracking import TrackedRun

PAGES = Path(__file__).parent.parent / "docs" / "plugins"
CLASSES = [*((kind, interface(kind)) for kind in KINDS), ("tracker", TrackedRun)]


def members(cls: type) -> dict[str, tuple[str, bool, str]]:
    """name -> (function or property, whether it is abstract, signature) of a class's own members,
    special methods included."""
    found = {}
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if isinstance(function, FunctionType):
            abstract = getattr(value, "__isabstractmethod__", False)
            found[name] = (type(value).__name__, abstract, str(inspect.signature(function)))
    return found


def shown(kind: str, name: str) -> type:
    """The class as its page shows it: a block of code that runs, without bodies."""
    text = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```py\n(class {name}\(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": "page"}
    head = "from __future__ import annotations\nfrom abc import ABC, abstractmethod\n"
    exec(head + block, names)  # noqa: S102 - our own pages
    found = names[name]
    assert isinstance(found, type)
    return found


@pytest.mark.parametrize(("kind", "cls"), CLASSES, ids=[cls.__name__ for _, cls in CLASSES])
def test_a_page_shows_the_signatures_of_its_interface(kind: str, cls: type) -> None:
    assert members(shown(kind, cls.__name__)) == members(cls)


@pytest.mark.parametrize("kind", KINDS)
def test_the_index_and_the_page_name_the_hook_and_the_contract(kind: str) -> None:
    hook, _ = KINDS[kind]
    own = [
        name for name in contracts.__all__ if getattr(contracts, name).__dict__.get("kind") == kind
    ]
    assert own
    (line,) = re.findall(rf"^\| \[{kind}\].*$", (PAGES / "index.md").read_text(), re.MULTILINE)
    for text in ((PAGES / f"{kind}.md").read_text(), line):
        assert f"`{hook}`" in text
        assert all(re.search(rf"\b{name}`", text) for name in own)
