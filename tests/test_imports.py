"""What importing costs: nothing slow before it is used."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import dcm

SLOW = ("torch", "transformers", "datasets", "mlflow", "pyarrow", "pandas")
PLUGINS = sorted(
    entry_point.value
    for entry_point in entry_points(group="dcm")
    if entry_point.dist and entry_point.dist.name == "dynamic-context-memory"
)


def loaded_by(*statements: str) -> set[str]:
    """The slow packages that a fresh interpreter has loaded after some statements."""
    code = "\n".join(["import sys", *statements, "print(*sys.modules, sep='\\n')"])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {line.partition(".")[0] for line in run.stdout.splitlines()}
    assert "dcm" in modules
    return modules & set(SLOW)


def test_importing_dcm_loads_nothing_slow() -> None:
    assert loaded_by("import dcm") == set()


def test_importing_every_plugin_loads_nothing_slow() -> None:
    assert PLUGINS
    assert loaded_by("import dcm", *(f"import {plugin}" for plugin in PLUGINS)) == set()


def test_listing_what_is_installed_loads_nothing_slow() -> None:
    ask = "assert dcm.plugins.installed().all() and not dcm.plugins.installed().problems"
    assert loaded_by("import dcm.plugins", ask) == set()


def test_a_data_set_is_read_without_a_model_library() -> None:
    use = "assert len(list(dcm.find('dataset', 'samples')(limit=2))) == 2"
    assert loaded_by("import dcm", use) == set()


# What `import dcm` sets for the libraries below torch, and what a user may have set instead.
VARIABLES = {
    "OMP_WAIT_POLICY": "ACTIVE",
    "GOMP_SPINCOUNT": "7",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7",
    "LRU_CACHE_CAPACITY": "7",
}


def set_by_import(name: str, **environment: str) -> str | None:
    """The variable after `import dcm`, where of VARIABLES only those given were set."""
    code = f"import json, os, dcm; print(json.dumps(os.environ.get({name!r})))"
    unset = {key: each for key, each in os.environ.items() if key not in VARIABLES}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=unset | environment,
    )
    return json.loads(ran.stdout)


@pytest.mark.parametrize(("name", "value"), VARIABLES.items())
def test_a_variable_that_is_set_stays_as_it_is(name: str, value: str) -> None:
    assert set_by_import(name) not in (None, value)
    assert set_by_import(name, **{name: value}) == value


def test_who_says_how_threads_wait_says_how_long_too() -> None:
    assert set_by_import("GOMP_SPINCOUNT", OMP_WAIT_POLICY="ACTIVE") is None


@pytest.mark.parametrize("name", dcm.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(dcm, name) is not None
    assert name in dir(dcm)


def test_public_names_are_listed_before_they_are_used() -> None:
    ask = "assert {'Squad', '__version__', 'solve'} - set(dir(dcm)) == {'Squad'}"
    assert loaded_by("import dcm", ask) == set()


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse(Path(dcm.__file__).read_text(encoding="utf-8"))
    seen = {
        name.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dcm.")
        for name in node.names
    }
    assert seen == set(dcm.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Squad'"):
        dcm.Squad  # noqa: B018
