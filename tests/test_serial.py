"""describe and build: the serial form of components."""

from __future__ import annotations

import enum
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcm
from dcm import (
    AllOf,
    AnyOf,
    Component,
    ConvergenceCriterion,
    Example,
    PluginError,
    TaskDataset,
    UsageError,
    build,
    describe,
    hookimpl,
)
from dcm.plugins import Plugins
from dcm_criteria.exact import Exact
from dcm_criteria.patience import Patience
from dcm_criteria.ratios import RatioToRandom, SeedRule, WithinFullContext
from dcm_objectives.joint import Joint
from dcm_optimizers.adam import Adam
from dcm_optimizers.restarts import Restarts
from dcm_squad.squad import Squad
from dcm_wrappers.concatenate import Concatenate
from dcm_wrappers.sample import Sample
from dcm_wrappers.shuffled import Shuffled

positive = st.floats(0, 1e6, exclude_min=True)
seeds = st.integers(-(2**63), 2**63)
paths = st.text(min_size=1).filter(lambda text: "\0" not in text)

leaf_criteria = st.one_of(
    st.builds(Exact, st.none() | st.floats(0, 1e6)),
    st.builds(RatioToRandom, positive),
    st.builds(WithinFullContext, positive),
    st.builds(SeedRule, positive, positive),
)
criteria = st.recursive(
    leaf_criteria,
    lambda inner: st.one_of(
        st.builds(Patience, inner, st.integers(1, 99)),
        st.lists(inner, min_size=1, max_size=3).map(AnyOf),
        st.lists(inner, min_size=1, max_size=3).map(AllOf),
    ),
    max_leaves=6,
)
adams = st.builds(
    Adam,
    lr=st.none() | positive,
    betas=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2),
    eps=positive,
    start_scale=st.floats(0, 1e3),
)
optimizers = st.recursive(adams, lambda inner: st.builds(Restarts, inner, st.integers(1, 9)))
squads = st.builds(
    Squad,
    path=paths,
    limit=st.none() | st.integers(1, 10**9),
    offset=st.integers(0, 10**9),
    seed=st.none() | seeds,
    on_error=st.sampled_from(["stop", "skip"]),
)
datasets = st.recursive(
    squads,
    lambda inner: st.one_of(
        st.builds(Shuffled, inner, seeds),
        st.builds(Sample, inner, st.integers(1, 99), seeds),
        st.lists(inner, min_size=1, max_size=3).map(Concatenate),
    ),
    max_leaves=4,
)
components = st.one_of(criteria, optimizers, datasets, st.builds(Joint, positive, positive))


class Colour(enum.StrEnum):
    RED = "red"


@attrs.frozen
class Holder(TaskDataset):
    """Holds anything.

    Attributes:
        value: anything.
        other: what is called `renamed` outside.
    """

    value: Any = None
    other: int = attrs.field(default=0, alias="renamed")
    found: int = attrs.field(init=False, default=7)

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Example:
        raise IndexError(index)


class Plain(TaskDataset):
    """No attrs class."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Example:
        raise IndexError(index)


class Announcing:
    @hookimpl
    def dcm_datasets(self) -> list[Component]:
        return [
            Component("holder", f"{__name__}:Holder", "holds anything"),
            Component("plain", f"{__name__}:Plain", "no attrs class"),
        ]


@pytest.fixture
def plugins() -> Plugins:
    plugins = Plugins()
    plugins.add(Announcing(), "here", "2.0")
    return plugins


@given(component=components)
def test_build_gives_back_what_describe_was_given(component: Any) -> None:
    written = json.dumps(describe(component), allow_nan=False)
    assert build(json.loads(written)) == component


def test_the_form_says_who_provides_what() -> None:
    assert describe(Patience(Exact(margin=0.5), steps=2)) == {
        "kind": "criterion",
        "name": "patience",
        "distribution": "dynamic-context-memory",
        "version": dcm.__version__,
        "params": {
            "inner": {
                "kind": "criterion",
                "name": "exact",
                "distribution": "dynamic-context-memory",
                "version": dcm.__version__,
                "params": {"margin": 0.5},
            },
            "steps": 2,
        },
    }


def test_kind_and_name_are_enough() -> None:
    assert build({"kind": "objective", "name": "joint"}) == Joint()


def test_fields_have_the_names_that_the_constructor_takes(plugins: Plugins) -> None:
    form = describe(Holder(renamed=5), plugins)
    assert form["params"] == {"value": None, "renamed": 5}
    assert build(form, plugins) == Holder(renamed=5)


@pytest.mark.parametrize(
    "value",
    [
        {"weights": {"a": 1.5, "b": (1, 2)}},
        {"inner": Holder(value=(Holder(), "text"))},
        (Holder(1), {"deep": (Holder(2),)}),
        Colour.RED,
        10**30,
        "",
        {},
        (),
    ],
)
def test_components_nest_in_any_structure(plugins: Plugins, value: Any) -> None:
    holder = Holder(value)
    assert build(json.loads(json.dumps(describe(holder, plugins))), plugins) == holder


def test_paths_become_texts(plugins: Plugins) -> None:
    assert describe(Holder(Path("a") / "b"), plugins)["params"]["value"] == str(Path("a/b"))


@pytest.mark.parametrize(
    "value",
    [math.nan, -math.inf, {1: 2}, {"kind": "a", "name": "b"}, b"bytes", print, object()],
)
def test_what_json_cannot_hold_is_refused(plugins: Plugins, value: Any) -> None:
    for holder in (Holder(value), Holder((value,)), Holder({"deep": value})):
        with pytest.raises(TypeError, match="'value'"):
            describe(holder, plugins)


def test_a_set_is_written_in_the_same_order_by_every_process() -> None:
    code = (
        "import attrs\n"
        "from dcm import Component, TaskDataset, describe, hookimpl\n"
        "from dcm.plugins import Plugins\n"
        "@attrs.frozen\n"
        "class Some(TaskDataset):\n"
        "    names: frozenset = frozenset('abcdefgh')\n"
        "    def __len__(self): return 0\n"
        "    def __getitem__(self, index): raise IndexError\n"
        "class P:\n"
        "    @hookimpl\n"
        "    def dcm_datasets(self): return [Component('some', '__main__:Some', 's')]\n"
        "plugins = Plugins()\n"
        "plugins.add(P(), 'here')\n"
        "print(describe(Some(), plugins)['params']['names'])\n"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert written == {str(list("abcdefgh"))}


def test_what_nobody_registers_cannot_be_described() -> None:
    with pytest.raises(PluginError, match=r"Holder cannot be described\. No plugin registers it"):
        describe(Holder())


def test_what_is_no_attrs_class_cannot_be_described(plugins: Plugins) -> None:
    with pytest.raises(PluginError, match=r"'here/plain' cannot be described\. Plain is no attrs"):
        describe(Plain(), plugins)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (None, "It is None"),
        ("squad", "It is 'squad'"),
        ([], r"It is \[\]"),
        ({}, "It is empty"),
        ({"kind": "dataset"}, "It has the keys 'kind'"),
        ({"kind": "dataset", "name": "squad", "parms": {}}, "'parms'"),
        ({"kind": ["dataset"], "name": "squad"}, "'kind' of a component is a text"),
        ({"kind": "dataset", "name": 5}, "'name' of a component is a text"),
        ({"kind": "dataset", "name": "squad", "params": None}, "'params' of a component"),
        ({"kind": "dataset", "name": "squad", "params": [1]}, "'params' of a component"),
        ({"kind": "dataset", "name": "squad", "params": {1: 2}}, "There is 1"),
        ({"kind": "dataset", "name": "squad", "distribution": 5}, "'distribution'"),
        ({"kind": "datasets", "name": "squad"}, "unknown kind 'datasets'"),
        ({"kind": "dataset", "name": "sqad"}, r"no dataset 'sqad'. Did you mean 'squad'\?"),
        ({"kind": "dataset", "name": "squad", "distribution": "other"}, "'other/squad'"),
        (
            {"kind": "dataset", "name": "squad", "params": {"pth": "x"}},
            r"dataset 'squad' has no field 'pth'. Did you mean 'path'\?",
        ),
        ({"kind": "dataset", "name": "squad", "params": {}}, "neither is given"),
        ({"kind": "dataset", "name": "csv"}, "'csv' cannot be built. .*'path'"),
        ({"kind": "objective", "name": "joint", "params": {"answer_weight": 0}}, "> 0"),
        ({"kind": "optimizer", "name": "adam", "params": {"betas": [10**400, 0]}}, "too large"),
        ({"kind": "objective", "name": "joint", "params": {"answer_weight": "x"}}, "joint"),
        (
            {"kind": "criterion", "name": "patience", "params": {"inner": 3}},
            "criterion 'patience' cannot be built: a criterion is expected, not 3",
        ),
        (
            {
                "kind": "optimizer",
                "name": "restarts",
                "params": {"inner": {"kind": "optimizer", "name": "adm"}},
            },
            r"no optimizer 'adm'. Did you mean 'adam'\?",
        ),
        (
            {
                "kind": "optimizer",
                "name": "restarts",
                "params": {"inner": {"kind": "objective", "name": "joint"}},
            },
            "'restarts' cannot be built: an optimizer is expected",
        ),
    ],
)
def test_a_wrong_form_says_what_is_wrong(form: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(form)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "name", "params", "path", "inner", "limit", "lr", "betas"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


@given(params=st.dictionaries(st.sampled_from(["lr", "betas", "eps", "x"]), json_values))
def test_any_params_are_built_or_refused(params: Mapping[str, Any]) -> None:
    form = {"kind": "optimizer", "name": "adam", "params": params}
    try:
        found = build(form)
    except UsageError as error:
        assert str(error)  # noqa: PT017 - most are refused
    else:
        assert isinstance(found, Adam)


@given(form=json_values)
def test_no_json_value_is_built_by_chance(form: Any) -> None:
    with pytest.raises(UsageError):
        build(form)


def test_an_error_of_ours_in_a_constructor_comes_through() -> None:
    params = {"uri": "no address"}
    with pytest.raises(dcm.DcmError, match="no address"):
        build({"kind": "tracker", "name": "mlflow", "params": params})


def test_criteria_are_written_as_they_were_composed() -> None:
    composed: ConvergenceCriterion = (Exact() | SeedRule()) & Patience(Exact(0.5), 2)
    assert build(describe(composed)) == AllOf(
        (AnyOf((Exact(), SeedRule())), Patience(Exact(0.5), 2))
    )
