"""Which workers a command line asks for."""

from __future__ import annotations

import pytest

from dcm import UsageError
from dcm.cli.workforce import Workforce, default_engine
from dcm.engines import Local, Ray


def test_engines_get_what_the_options_say() -> None:
    assert Workforce().find() is None
    local = Workforce(workers=3).find()
    assert isinstance(local, Local)
    assert local.workers_wanted == 3
    shared = Workforce("ray", 8, "auto", 0.5).find()
    assert isinstance(shared, Ray)
    assert (shared.workers_wanted, shared.address, shared.gpus_per_worker) == (8, "auto", 0.5)


@pytest.mark.parametrize(
    ("workforce", "told"),
    [
        (Workforce(address="auto"), "--address was given. Give --engine ray"),
        (Workforce("local", address="auto"), "--address was given with --engine local"),
        (Workforce("torchrun", workers=2), "Give --engine local or ray"),
        (Workforce("local", gpus_per_worker=0.5), "by --engine ray alone"),
        (Workforce("sprak"), "no engine 'sprak'"),
    ],
)
def test_options_that_an_engine_has_not_are_refused(workforce, told) -> None:
    with pytest.raises(UsageError, match=told):
        workforce.find()


def test_options_are_given_again_to_go_on() -> None:
    assert Workforce("ray", 8, "auto", 0.5).arguments() == [
        *("--engine", "ray", "--workers", "8", "--address", "auto", "--gpus-per-worker", "0.5")
    ]
    assert Workforce().arguments() == []


@pytest.mark.parametrize(
    ("cards", "params", "environment", "many"),
    [
        ("0,1", {}, {}, True),
        ("0,1", {"device": "cuda"}, {}, True),
        ("0", {}, {}, False),
        ("", {}, {}, False),
        ("0,1", {"device": "cuda:1"}, {}, False),
        ("0,1", {"device": "cpu"}, {}, False),
        ("0,1", {"device_map": "auto"}, {}, False),
        ("0,1", {}, {"WORLD_SIZE": "2"}, False),
    ],
)
def test_all_cards_are_used_where_none_is_named(
    cards, params, environment, many, monkeypatch
) -> None:
    for key, value in {"CUDA_VISIBLE_DEVICES": cards, **environment}.items():
        monkeypatch.setenv(key, value)
    found = default_engine({"generator": {"kind": "generator", "name": "nano", "params": params}})
    assert isinstance(found, Local) == many
    assert (found is None) == (not many)
