"""Layers are compiled once, for whatever rows come and go, and only where it pays."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch._dynamo.utils

from dcm import Strands
from dcm.causal_lm import CausalLM, regions, token_scores
from dcm.causal_lm.regions import Regions

# Passes of this many rows, with strands of any length.
PASSES = (3, 1, 7, 2, 30, 1, 9)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def score(lm, rows, layout, drawn):
    """One step of rows with one to three strands each; the losses and their gradient."""
    owners = [row for row in range(rows) for _ in range(drawn.integers(1, 4))]
    count = len(owners)
    ids = [
        (*(int(drawn.integers(0, 256)) for _ in range(drawn.integers(0, 31))), 256) for _ in owners
    ]
    strands = Strands(
        row=torch.tensor(owners),
        lead=noise(count, 64, seed=1),
        ids=ids,
        weight=torch.ones(count),
        rows=rows,
        layout=layout,
        modes=[str(number) for number in range(count)],
    )
    content = noise(rows, 8, 64, seed=rows).requires_grad_()
    nll = lm.score(content, strands).nll
    return nll.detach(), *torch.autograd.grad(nll.sum(), content)


# Torch's own, while it compiles; it is an error nowhere but here.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")
def test_rows_that_come_and_go_recompile_nothing(build, monkeypatch):
    # Everything but the machine code, for which there may be no compiler here.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    # What measures tokens is compiled by itself; counted are layers.
    monkeypatch.setattr(token_scores, "_measure_compiled", lambda: token_scores._measure)
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    plain, counts = build("llama", packed=True), {}
    lm = CausalLM(copy.deepcopy(plain.model), plain.tokenizer, compiled=True, packed=True)
    for layout in ("prefix", "suffix"):
        drawn, again = (np.random.default_rng(0) for _ in range(2))
        for rows in PASSES:
            found = score(lm, rows, layout, drawn)
            expected = score(plain, rows, layout, again)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        counts[layout] = torch._dynamo.utils.counters["stats"]["unique_graphs"] - before
    assert lm.regions.active
    assert counts["prefix"] == 1
    assert counts["suffix"] <= 2  # where keys are positions that are told


class Layered(torch.nn.Module):
    """What stands for a model with layers on a device."""

    def __init__(self, device="cuda", layers=2):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(layers))
        self.device = SimpleNamespace(type=device)


@pytest.fixture
def clock(monkeypatch):
    """Time, in seconds."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(regions.time, "monotonic", lambda: now.seconds)
    return now


def steps_until_compiled(found, clock, seconds, pause=0.0, every=1 << 30):
    """How many steps of so many seconds, with a pause after every so many, run as they are."""
    for step in range(5_000):
        if found.count():
            assert found.active
            return step
        assert not found.active
        clock.seconds += seconds + (pause if step % every == every - 1 else 0.0)
    return None


@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0])
def test_compiling_starts_when_steps_have_taken_as_long_as_it_costs(seconds, clock):
    found = Regions(Layered(), None)
    steps = steps_until_compiled(found, clock, seconds)
    assert steps * seconds == pytest.approx(regions._COST, abs=1.01 * seconds)
    for _ in range(100):
        clock.seconds += seconds
        assert not found.count(), "it starts once"
        assert found.active


def test_what_passes_between_steps_is_not_their_time(clock):
    """Hours of other work make no step worth compiling for."""
    found = Regions(Layered(), None)
    steps = steps_until_compiled(found, clock, 0.1, pause=3600.0, every=3)
    # Of three steps one is followed by something else, and its own time is not told apart.
    assert steps == pytest.approx(1.5 * regions._COST / 0.1, rel=0.02)


def test_a_few_steps_are_never_compiled_for(clock):
    found = Regions(Layered(), None)
    for _ in range(100):
        assert not found.count()
        clock.seconds += 0.1
    assert not found.active


def test_it_is_compiled_at_once_where_it_is_asked(clock):
    found = Regions(Layered("cpu"), wanted=True)
    assert found.active
    assert not found.count(), "nothing begins that had not begun"


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (Layered(), False),
        (Layered("cpu"), None),
        (Layered(layers=0), None),
        (Layered("cpu"), False),
    ],
    ids=["not wanted", "on a CPU", "without layers", "not wanted on a CPU"],
)
def test_it_is_never_compiled(model, wanted, clock):
    assert steps_until_compiled(Regions(model, wanted), clock, 0.1) is None


def test_a_model_without_layers_is_not_compiled_where_it_is_asked():
    assert not Regions(Layered(layers=0), wanted=True).active


def test_recordings_are_made_anew_when_compiling_starts(build, recordings, monkeypatch):
    """They would go on as it was."""
    recordings.reset()
    lm = build("llama", packed=True)
    begins = iter([False] * 6 + [True] + [False] * 6)
    monkeypatch.setattr(lm.regions, "count", lambda: next(begins))
    made = []
    for _ in range(13):
        score(lm, 2, "prefix", np.random.default_rng(0))
        made.append(recordings.made)
    assert made[5] == 1
    assert made[6:10] == [1] * 4
    assert made[-1] == 2
