"""Components by name, pairs at hand, messages of fields, and reprs that can be pasted."""

from __future__ import annotations

from typing import Any

import pytest

import dcm
from dcm import Example, Experiment, UsageError
from dcm.cli.fields import fields_of
from dcm.plugins import installed
from dcm_controls.random_init import RandomInit
from dcm_nano.generator import Nano
from dcm_optimizers.adam import Adam
from dcm_tables.pairs import Pairs
from dcm_wrappers.sample import Sample
from dcm_wrappers.shuffled import Shuffled


def test_a_component_may_be_given_by_its_name() -> None:
    by_name = Experiment(
        generator="nano", optimizer="adam", evaluators=["greedy-decode"], criterion="seed-rule"
    )
    assert by_name.generator == Nano()
    assert by_name.optimizer == Adam()
    assert by_name == Experiment.build(by_name.describe())
    assert Experiment(evaluators="semantic").evaluators == (dcm.find("evaluator", "semantic")(),)
    assert Shuffled("samples").dataset == dcm.find("dataset", "samples")()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"generator": "nanno"}, "no generator 'nanno'.*'nano'"),
        ({"generator": 3}, "a generator is expected, not 3.*nano"),
        ({"generator": Nano}, "a generator is expected, not its class.*Nano"),
        ({"dataset": [("a?", "b")]}, r"a dataset is expected.*dcm\.pairs"),
        ({"dataset": "csv"}, r"'csv' cannot stand for itself: it needs fields.*path"),
        ({"optimizer": Nano()}, "an optimizer is expected, not Nano"),
        ({"evaluators": [Nano()]}, "an evaluator is expected, not Nano"),
        ({"objective": None}, "an objective is expected, not None"),
    ],
)
def test_what_is_no_component_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Experiment(**fields)


def test_solve_takes_names_too() -> None:
    with pytest.raises(UsageError, match="no generator 'x'"):
        dcm.solve("x", "samples")
    with pytest.raises(UsageError, match=r"an example is expected, not \('a', 'b'\).*dcm.pairs"):
        list(dcm.solve(Nano(), [("a", "b")]))  # type: ignore[list-item]
    with pytest.raises(UsageError, match="an objective is expected, not 4"):
        dcm.solve(Nano(), [], objective=4)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [[("a?", "b"), ["c?", "d", "e"]], {"a?": "b", "c?": ["d", "e"]}])
def test_pairs_at_hand_are_a_data_set(given: Any) -> None:
    dataset = dcm.pairs(given)
    assert list(dataset) == [Example("0", "a?", "b"), Example("1", "c?", "d", ["e"])]
    assert dcm.build(dcm.describe(dataset)) == dataset
    assert Sample(dataset, count=1)[0] in list(dataset)
    with pytest.raises(IndexError):
        dataset[2]


@pytest.mark.parametrize(
    "given", [[], {}, 3, "a?", [("a?",)], [("a?", 4)], [("", "b")], ["ab"], [{"a?": "b"}]]
)
def test_what_are_no_pairs_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="pair"):
        dcm.pairs(given)


def test_a_field_is_called_as_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"^dtype must be .*'bfloat16'.*, not 'int4'$"):
        Nano(dtype="int4")
    with pytest.raises(ValueError, match=r"^limit must be a whole number .*, not 'x'$"):
        dcm.find("dataset", "samples")(limit="x")
    with pytest.raises(ValueError, match=r"^on_error must be 'stop' or 'skip', not None$"):
        dcm.find("dataset", "csv")("a.csv", on_error=None)


@pytest.mark.parametrize(
    "component",
    [Nano(dtype="bfloat16", device="cpu"), RandomInit(Nano(), seed=2), Pairs([("a?", "b")])],
)
def test_a_repr_can_be_pasted(component: Any) -> None:
    assert eval(repr(component)) == component  # noqa: S307 - our own text


def test_no_repr_of_a_bundled_component_differs_from_its_fields() -> None:
    for each in installed().all():
        fields = fields_of(each.load())
        try:
            text = repr(each.load()())
        except (TypeError, ValueError):  # it needs fields
            continue
        assert all(f"{name}=" in text for name in fields), text
