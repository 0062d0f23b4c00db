"""What a run chose itself is recorded beside what it was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcm import Experiment, Generator, find, pairs
from dcm.running.chosen import chosen_values
from dcm.testing.doubles import save_tiny_model
from dcm_criteria.exact import Exact
from dcm_criteria.patience import Patience
from dcm_mlflow.flatten import tags
from dcm_optimizers.adam import Adam
from dcm_optimizers.muon import Muon


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    return find("generator", "transformers")(str(folder))  # type: ignore[no-any-return]


def experiment(generator: Generator, **fields: Any) -> Experiment:
    return Experiment(generator=generator, dataset=pairs([("a", "b")]), slots=16, **fields)


def test_what_was_left_open_is_recorded_as_numbers(generator: Generator) -> None:
    found = chosen_values(experiment(generator))
    adam = Adam().chosen(16)
    named = {"lr", "start_scale", "text_scale", "gradient_temperature", "hypergradient"}
    assert set(adam) == named
    expected = {f"optimizer.inner.{name}": value for name, value in adam.items()}
    expected |= {"criterion.margin": generator.logit_noise, "generator.device": "cpu"}
    assert expected.items() <= found.items()


def test_what_was_given_is_not_called_chosen(generator: Generator) -> None:
    given = Adam(
        lr=0.5, start_scale=1.0, text_scale=0.0, gradient_temperature=1.0, hypergradient=0.0
    )
    found = chosen_values(experiment(generator, optimizer=given, criterion=Exact(margin=0.1)))
    assert set(found) <= {"generator.device", "generator.dtype"}


def test_the_numbers_are_those_that_are_used(generator: Generator) -> None:
    for kind in (Adam, Muon):
        chosen = kind().chosen(16)
        assert kind().temperature(16) == chosen["gradient_temperature"]
        assert kind(text_scale=0).chosen(16)["start_scale"] > chosen["start_scale"]
        found = chosen_values(experiment(generator, optimizer=kind()))
        assert found["optimizer.lr"] == chosen["lr"]
    wrapped = experiment(generator, criterion=Patience(Exact()) | Exact(margin=1.0))
    found = chosen_values(wrapped)
    assert found["criterion.criteria.0.inner.margin"] == generator.logit_noise
    assert "criterion.criteria.1.margin" not in found


def test_they_stand_in_the_run_and_in_what_a_tracker_is_told(
    generator: Generator, tmp_path: Path
) -> None:
    made = experiment(generator, optimizer=Adam(), max_steps=2)
    made.run(tmp_path / "run")
    description = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert description["optimizer"]["params"]["lr"] is None
    assert description["chosen"]["optimizer.lr"] == Adam().defaults(16).lr
    assert tags(description)["chosen.optimizer.lr"] == str(Adam().defaults(16).lr)
    assert Experiment.build(description) == made
    made.run(tmp_path / "run", resume=True)
