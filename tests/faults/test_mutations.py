"""Whatever a run directory or a data file holds: a sound result, or an error of dcm's own.

`experiments/faults/mutations.py` is the same with a million cases.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcm import DatasetError, find


@pytest.fixture(scope="module")
def cases(script, tmp_path_factory):
    module = script("experiments/faults/mutations.py")
    return module.Cases(tmp_path_factory.mktemp("mutations") / "cases")


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(number=st.integers(0, 2**60))
def test_a_mutated_file_is_read_or_refused(cases, number) -> None:
    cases.judge(number)


def test_both_ends_are_met(cases) -> None:
    for number in range(1500):
        cases.judge(number)
    ends = set(cases.found)
    for kind in ("resume", "read", "memory", "experiment", "csv", "parquet", "squad", "arc"):
        assert {f"{kind} sound", f"{kind} refused"} <= ends, cases.found
    assert {"verify sound", "report sound"} <= ends, cases.found


@pytest.mark.parametrize("name", ["csv", "jsonl", "squad", "arc"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, name, kind) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(DatasetError, match=r"is no file.*pipe, a socket or a device"):
        len(find("dataset", name)(path=str(path)))
