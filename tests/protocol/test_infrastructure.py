"""Stage 0: baselines and the check of the machinery."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dcm import Baselines, Modes
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.infrastructure import fingerprint, guessing, infrastructure
from dcm.running.experiment import Experiment
from dcm.solver import solve
from dcm.testing.doubles import QuadraticGenerator, TinyGenerator, ToyTask
from dcm_objectives.joint import Joint


def kinds(**full_context: float):
    return {"full_context": {mode: [loss] for mode, loss in full_context.items()}}


def test_guessing_is_the_loss_of_equal_probabilities():
    # ln 100 = 4.605; (2 + 4) / 2 / 4.605 and 1 / 4.605, the unmeasured mode left out.
    losses = {"a": kinds(question=2.0, answer=4.0), "b": kinds(question=1.0, answer=math.nan)}
    found = guessing(BaselineTable(losses, {}), 100)
    assert found.value == pytest.approx((3 + 1) / 2 / math.log(100))
    assert found.count == 2


def test_means_and_spreads_over_draws_by_hand(tmp_path):
    table = BaselineTable({"a": {"random": {"answer": [1.0, 3.0, 5.0]}}}, {})
    assert table.mean("a", "random", "answer") == 3.0
    assert table.spread("a", "random", "answer") == 2.0  # sqrt((4 + 0 + 4) / 2)
    assert table.typical_spread("random", "answer") == 2.0
    table.write(tmp_path / "baselines.jsonl")
    assert json.loads((tmp_path / "baselines.jsonl").read_text()) == {
        "id": "a",
        "random": {"answer": {"mean": 3.0, "spread": 2.0, "draws": [1.0, 3.0, 5.0]}},
    }


def test_a_single_draw_has_no_spread():
    table = BaselineTable({"a": {"full_context": {"answer": [1.0]}}}, {})
    assert table.typical_spread("full_context", "answer") is None


def test_the_table_has_the_baselines_of_a_run_with_its_seed():
    generator, task = TinyGenerator(), ToyTask(3)
    modes = Modes(generator)
    table = BaselineTable.measure(generator, task, Joint(), modes, slots=2, draws=2, seed=5)
    run = solve(generator, task, slots=2, max_steps=1, seed=5, modes=modes, baselines=Baselines(2))
    for outcome in run:
        for kind, by_mode in outcome.baselines.items():
            for mode, loss in by_mode.items():
                assert table.mean(outcome.example.id, kind, mode) == pytest.approx(loss)


def test_an_example_that_does_not_fit_is_left_out_with_the_reason():
    table = BaselineTable.measure(
        TinyGenerator(), ToyTask(2), Joint(), Modes(TinyGenerator()), slots=250, draws=1, seed=0
    )
    assert not table.losses
    assert "the model has 256" in table.left_out["toy-0"]


def look(generator):
    experiment = Experiment(generator=generator, dataset=ToyTask(4), slots=4)
    modes = Modes(generator)
    table = BaselineTable.measure(generator, ToyTask(4), Joint(), modes, slots=4, draws=1, seed=0)
    return infrastructure(experiment, list(ToyTask(4)), modes, table)


def test_losses_fall_and_parameters_stay():
    generator = TinyGenerator()
    before = fingerprint(generator)
    record, gates = look(generator)
    assert [gate.verdict for gate in gates[:2]] == ["passed", "passed"]
    assert len(record["pairs"]) == 3
    assert all(pair["best"] < pair["first"] for pair in record["pairs"])
    assert record["parameters"] == before == fingerprint(generator)


def test_a_model_no_better_than_guessing_is_stopped():
    # Random weights of this size are surer than they should be: worse than guessing.
    _, gates = look(TinyGenerator())
    assert (gates[2].verdict, gates[2].relation) == ("failed", "<=")
    assert "trained weights" in gates[2].advice


def test_a_parameter_that_moves_is_noticed(monkeypatch):
    generator = TinyGenerator()
    original = TinyGenerator.embed

    def train(self, ids):
        with torch.no_grad():
            self.lm.model.model.norm.weight[0] += 1e-3
        return original(self, ids)

    before = fingerprint(generator)
    generator.embed(torch.tensor([1]))
    assert fingerprint(generator) == before
    monkeypatch.setattr(TinyGenerator, "embed", train)
    generator.embed(torch.tensor([1]))
    assert fingerprint(generator) != before


def test_a_gradient_on_a_parameter_is_noticed():
    generator = TinyGenerator()
    generator.lm.model.model.norm.weight.grad = torch.zeros(64)
    _, gates = look(generator)
    assert gates[1].verdict == "failed"


def test_a_generator_that_shows_no_parameters_is_no_failure():
    record, gates = look(QuadraticGenerator())
    assert record["parameters"] == "not shown by this generator"
    assert gates[1].verdict == "passed"
