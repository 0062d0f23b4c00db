"""Every registered component is under its contract."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from dcm.plugins import Registered, installed


def covered() -> set[str]:
    """ "kind/name" of every contract test in this folder."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "covers":
                found.add(ast.literal_eval(node.value))
    return found


def ours() -> list[Registered]:
    return [each for each in installed().all() if each.distribution == "dynamic-context-memory"]


def test_the_plugins_are_whole() -> None:
    assert [each for each in installed().problems if each.distribution in str(ours()[0])] == []


def test_every_component_has_a_contract_test() -> None:
    registered = {f"{each.kind}/{each.name}" for each in ours()}
    assert registered
    assert registered - covered() == set()


@pytest.mark.parametrize("registered", ours(), ids=lambda each: f"{each.kind}/{each.name}")
def test_a_component_can_be_loaded_and_is_concrete(registered: Registered) -> None:
    assert not inspect.isabstract(registered.load())
    assert registered.component.summary.strip()
    assert len(registered.component.summary.splitlines()) == 1
