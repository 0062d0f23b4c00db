"""What `--set` and the options make of an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcm
from dcm import Experiment, UsageError
from dcm.cli.overrides import check, override, split


def experiment(*settings: str, **form: Any) -> Experiment:
    """The experiment that settings make of a form."""
    found = dict(form)
    override(found, [split(setting) for setting in settings])
    check(found)
    return Experiment.build(found)


def chosen(kind: str, name: str, **params: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "params": params}


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("slots=4", "slots", 4),
        ("slots = 4", "slots", 4),
        ("max_steps=1_000", "max_steps", 1000),
        ("seed=-3", "seed", -3),
        ("lanes=16", "lanes", 16),
        ("lanes=none", "lanes", None),
        ("layout=suffix", "layout", "suffix"),
        ('layout="suffix"', "layout", "suffix"),
        ("baseline_draws=0", "baseline_draws", 0),
        ("on_error=skip", "on_error", "skip"),
        ("dataset.limit=100", "dataset.limit", 100),
        ("optimizer.count=2", "optimizer.count", 2),
        ("optimizer.inner.lr=0.1", "optimizer.inner.lr", 0.1),
        ("optimizer.inner.lr=1", "optimizer.inner.lr", 1.0),
        ("optimizer.inner.lr=1e-3", "optimizer.inner.lr", 1e-3),
        ("optimizer.inner.betas=[0.5, 0.75]", "optimizer.inner.betas", (0.5, 0.75)),
        ("evaluators.0.partial=0.4", "evaluators.0.partial", 0.4),
        ("generator.dtype=bfloat16", "generator.dtype_name", "bfloat16"),
        ("generator.dtype=bf16", "generator.dtype_name", "bfloat16"),
    ],
)
def test_a_field_is_set(setting: str, path: str, value: object) -> None:
    found: Any = experiment(setting)
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["dev v2.json", "/data/2024", "2024", "1.5", "true", "2024-01-02", "a=b", "~/x", "nan", "[a"],
)
def test_a_path_needs_no_quotes(text: str) -> None:
    found: Any = experiment(f"dataset.path={text}", dataset=chosen("dataset", "squad"))
    # Absolute, so that the experiment means the same from any folder.
    assert found.dataset.path == str(Path(text).expanduser().absolute())


@given(
    st.text(min_size=1).filter(
        lambda text: text == text.strip() != "none" and text[0] not in "\"'" and "\0" not in text
    )
)
def test_text_that_is_no_toml_string_stays_as_it_is(text: str) -> None:
    form = {"generator": chosen("generator", "transformers")}
    override(form, [("generator.model", text)])
    assert form["generator"]["params"]["model"] == text


def test_no_value() -> None:
    with_limit = chosen("dataset", "samples", limit=3)
    found: Any = experiment("dataset.limit=none", dataset=with_limit)
    assert found.dataset.limit is None


def test_a_component_is_chosen_by_name_with_its_own_defaults() -> None:
    found = experiment("optimizer=adam", optimizer=chosen("optimizer", "restarts", count=9))
    assert found.optimizer == dcm.find("optimizer", "adam")()


def test_a_component_within_a_component() -> None:
    found: Any = experiment(
        "dataset=shuffled", "dataset.dataset=samples", "dataset.dataset.limit=7"
    )
    assert found.dataset.dataset == dcm.find("dataset", "samples")(limit=7)


def test_lists_of_components() -> None:
    found: Any = experiment(
        "criterion=any-of",
        'criterion.criteria=["exact", "seed-rule"]',
        "criterion.criteria.1.ratio=0.1",
    )
    exact, rule = found.criterion.criteria
    assert exact == dcm.find("criterion", "exact")()
    assert rule == dcm.find("criterion", "seed-rule")(ratio=0.1)
    assert experiment("evaluators=[]").evaluators == ()
    two: Any = experiment("evaluators.1=greedy-decode", "evaluators.1.partial=0.25")
    assert [each.partial for each in two.evaluators] == [0.5, 0.25]


def test_a_component_may_be_written_whole() -> None:
    found: Any = experiment('optimizer = {name = "adam", params = {lr = 0.5}}')
    assert found.optimizer == dcm.find("optimizer", "adam")(lr=0.5)


def test_the_order_of_the_settings_does_not_matter() -> None:
    settings = ("dataset=shuffled", "dataset.dataset=toy", "dataset.dataset.count=3", "slots=2")
    first, *others = [experiment(*order) for order in permutations(settings)]
    assert first.slots == 2
    assert all(other == first for other in others)


@pytest.mark.parametrize("settings", [[], ["dataset.dataset=samples"]])
def test_a_field_of_what_is_not_chosen_yet_says_where_it_will_be(settings: list[str]) -> None:
    told = r"set dataset\.dataset\.limit|Did you mean 'dataset\.dataset\.limit'"
    with pytest.raises(UsageError, match=told):
        experiment("dataset=shuffled", "dataset.limit=3", *settings)


def test_the_last_of_two_values_counts() -> None:
    assert experiment("slots=2", "slots=3").slots == 3


def test_what_is_not_set_stays() -> None:
    form: Mapping[str, Any] = Experiment(slots=5, seed=8).describe()
    found = experiment("slots=6", **form)
    assert found == Experiment(slots=6, seed=8)


def test_missing_fields_deep_within_are_told_with_their_key() -> None:
    with pytest.raises(UsageError, match=r"'jsonl' needs path.*--set dataset\.dataset\.path="):
        experiment("dataset=shuffled", "dataset.dataset=jsonl")


def test_options_replace_what_the_file_says_and_settings_both(command) -> None:
    form = Experiment(slots=5).describe() | {
        "dataset": chosen("dataset", "squad", path="none.json"),
        "versions": {"python": "0"},
        "git_commit": None,
    }
    Path("mine.json").write_text(json.dumps(form))
    done = command(
        *("run", "mine.json", "--generator", "tiny", "--dataset", "toy", "--objective", "single"),
        *("--optimizer", "adam", "--criterion", "seed-rule", "--evaluator", "greedy-decode"),
        *("--set", "dataset.count=1", "--set", "evaluators.0.partial=0.9", "--seed", "3"),
        *("--set", "seed=4", "--no-track", "--out", "one"),
    )
    assert done.exit_code == 0, done.stderr
    written = json.loads(Path("one/experiment.json").read_text())
    assert written["slots"] == 5
    assert written["seed"] == 4
    assert written["dataset"]["params"] == {"count": 1}
    assert written["evaluators"][0]["params"] == {"partial": 0.9}
    names = [written[key]["name"] for key in ("generator", "objective", "optimizer", "criterion")]
    assert names == ["tiny", "single", "adam", "seed-rule"]
    assert written["versions"] != {"python": "0"}


def test_relative_paths_are_written_so_that_they_hold_from_any_folder(command) -> None:
    record = {"id": "a", "question": "What?", "answer": "x"}
    Path("data").mkdir()
    Path("data/own.jsonl").write_text(json.dumps(record) + "\n")
    done = command(
        *("run", "--generator", "tiny", "--dataset", "jsonl", "--set", "slots=4", "--no-track"),
        *("--set", "dataset.path=data/own.jsonl", "--out", "one"),
    )
    assert done.exit_code == 0, done.stderr
    written = json.loads(Path("one/experiment.json").read_text())
    assert written["dataset"]["params"]["path"] == str(Path("data/own.jsonl").absolute())
