"""A component that fails on an example fails that example; the others end as without it."""

from __future__ import annotations

import json
import re
import time

import attrs
import pytest
import torch

from dcm import DatasetError, DcmError, TrackedRun, Tracker, UsageError
from dcm.criterion import ConvergenceCriterion
from dcm.evaluator import Evaluator
from dcm.testing.doubles import QuadraticObjective

BAD = "What is 3?"


def spoil(monkeypatch, component, method, how, when=lambda *arguments: True):
    """Let a component's method do something else whenever `when` says so."""
    plain = getattr(type(component), method)

    def spoilt(self, *arguments):
        if when(*arguments):
            return how(plain(self, *arguments))
        return plain(self, *arguments)

    monkeypatch.setattr(type(component), method, spoilt)


def boom(_value):
    raise ValueError("boom")


def with_bad_row(objective_or_loss, strands):
    """Whether the strands of a call include those of the bad example, whose answer is 3.5."""
    return any(bytes(ids[:-1]) == b"3.5" for ids in strands.ids)


FAILURES = {
    "targets raises": ("objective", "targets", boom, lambda example: example.question == BAD),
    "targets gives none": (
        "objective",
        "targets",
        lambda _: (),
        lambda example: example.question == BAD,
    ),
    "loss raises": ("objective", "loss", boom, with_bad_row),
    "loss has another shape": ("objective", "loss", lambda loss: loss[:-1], with_bad_row),
    "loss is detached": ("objective", "loss", torch.Tensor.detach, with_bad_row),
    "evaluate raises": (
        "evaluator",
        "evaluate",
        boom,
        lambda _g, examples, _o: examples[0].question == BAD,
    ),
    "evaluate gives a tensor": (
        "evaluator",
        "evaluate",
        lambda _: [{"x": torch.tensor(1.0)}],
        lambda _g, examples, _o: examples[0].question == BAD,
    ),
    "grade raises": ("dataset", "grade", boom, lambda example, _: example.question == BAD),
    "start raises": (
        "optimizer",
        "start",
        boom,
        lambda keys, *_: any(key.example_id == "5" for key in keys),
    ),
    "start has another shape": (
        "optimizer",
        "start",
        lambda content: content[:, :-1],
        lambda keys, *_: any(key.example_id == "5" for key in keys),
    ),
    "start is double": (
        "optimizer",
        "start",
        torch.Tensor.double,
        lambda keys, *_: any(key.example_id == "5" for key in keys),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_example_fails_and_the_others_do_not(
    experiment, run, read_run, tmp_path, monkeypatch, name
) -> None:
    kind, method, how, when = FAILURES[name]
    component = experiment.evaluators[0] if kind == "evaluator" else getattr(experiment, kind)
    whole = read_run(run)
    with monkeypatch.context() as patch:
        spoil(patch, component, method, how, when)
        summary = experiment.run(tmp_path / "spoilt")
    assert summary["status_counts"] == {"CONVERGED": 5, "FAILED": 1}
    found = read_run(tmp_path / "spoilt")
    failed = found.pop("5")
    assert failed["status"] == "FAILED"
    assert failed["reason"].startswith(f"failing {kind} ")
    assert f": in {method}, " in failed["reason"]
    assert found == {key: value for key, value in whole.items() if key != "5"}
    (reason,) = summary["failed_reasons"]
    assert reason.startswith(f"failing {kind} ")
    # After it is mended, a resumed run is the run that never failed.
    told: list[str] = []
    summary = experiment.run(tmp_path / "spoilt", resume=True, warn=told.append)
    assert read_run(tmp_path / "spoilt") == whole
    assert summary["status_counts"] == {"CONVERGED": 6}
    assert told == []


class Wrong(ConvergenceCriterion):
    """Says which rows are done in a wrong way."""

    def __init__(self, how):
        self.how = how

    def init(self, rows, device=None):
        return ()

    def update(self, state, seen):
        return self.how(state, seen)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda state, seen: (state, seen.exact.float()), r"gave \[1\] float32, not \[1\] bool"),
        (lambda state, seen: (state, seen.exact[:-1]), r"gave \[0\] bool, not \[1\] bool"),
        (lambda state, seen: None, "cannot unpack"),
        (lambda state, seen: (seen.loss[:0], seen.exact), "first axis is not 1 rows"),
    ],
)
def test_a_component_that_always_fails_stops_the_run_with_its_name(
    experiment, tmp_path, monkeypatch, how, told
) -> None:
    criterion = experiment.criterion
    monkeypatch.setattr(type(criterion), "update", lambda self, state, seen: how(state, seen))
    with pytest.raises(DcmError, match="the first 6 examples all failed") as caught:
        experiment.run(tmp_path / "run")
    assert "criterion 'exact'" in str(caught.value)
    assert re.search(told, str(caught.value))
    monkeypatch.undo()
    assert experiment.run(tmp_path / "run", resume=True)["certified_rate"] == 1.0


def test_the_share_of_failures_that_stops_can_be_chosen(experiment, tmp_path, monkeypatch) -> None:
    spoil(
        monkeypatch,
        experiment.objective,
        "targets",
        boom,
        lambda example: example.question in (BAD, "What is 4?"),
    )
    assert experiment.run(tmp_path / "two", max_failures=0.4)["finished"] == 6
    with pytest.raises(DcmError, match=r"2 of 6 examples failed, more than 0\.2 of them"):
        experiment.run(tmp_path / "run", max_failures=0.2)
    with pytest.raises(UsageError, match="from 0 to 1"):
        experiment.run(tmp_path / "other", max_failures=2)


def test_a_data_set_that_fails_at_the_first_look_is_named(
    experiment, tmp_path, monkeypatch
) -> None:
    spoil(monkeypatch, experiment.dataset, "__getitem__", boom, lambda index: index == 3)
    with pytest.raises(DatasetError, match=r"example number 3.*dataset 'csv'.*boom.*on_error=skip"):
        experiment.run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    summary = attrs.evolve(experiment, on_error="skip").run(tmp_path / "run")
    assert (summary["finished"], summary["skipped"]) == (5, {"unreadable": 1})


def test_a_data_set_that_fails_later_fails_the_example(experiment, tmp_path, monkeypatch) -> None:
    seen: list[int] = []

    def second(index: int) -> bool:
        seen.append(index)
        return seen.count(3) == 2 and index == 3

    spoil(monkeypatch, experiment.dataset, "__getitem__", boom, second)
    assert experiment.run(tmp_path / "run")["status_counts"] == {"CONVERGED": 5, "FAILED": 1}


@attrs.frozen
class CannotSum(Evaluator):
    def evaluate(self, generator, examples, outcomes):
        return [{"x": 1.0}]

    def summarise(self, evaluations):
        return {"nan": float("nan"), "one": 1}


def test_numbers_that_are_none_do_not_cost_the_summary(experiment, tmp_path, monkeypatch) -> None:
    evaluator = type(experiment.evaluators[0])
    monkeypatch.setattr(evaluator, "summarise", CannotSum.summarise)
    found = experiment.run(tmp_path / "run")["evaluations"]["greedy-decode"]
    assert found == {"nan": None, "one": 1.0}
    monkeypatch.setattr(evaluator, "summarise", lambda self, evaluations: 1 / 0)
    told: list[str] = []
    summary = experiment.run(tmp_path / "other", warn=told.append)
    assert "greedy-decode" not in summary["evaluations"]
    assert "'greedy-decode' failed in summarise. ZeroDivisionError" in told[0]


def test_what_is_not_finite_names_who_gave_it(experiment, tmp_path, monkeypatch) -> None:
    plain = QuadraticObjective.loss

    def loss(self, nll, strands):
        nan = torch.tensor([float("nan") if ids[0] == ord("3") else 1.0 for ids in strands.ids])
        return plain(self, nll, strands) * nan

    monkeypatch.setattr(QuadraticObjective, "loss", loss)
    experiment.run(tmp_path / "run")
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    reasons = {line["id"]: line["reason"] for line in map(json.loads, lines)}
    assert reasons.pop("5") == "not finite: loss or gradient of the objective 'distance'"
    assert set(reasons.values()) == {""}


class Odd(TrackedRun):
    def __init__(self, how):
        self.how, self.asked, self.took_all = how, 0, False

    def metrics(self, values, step):
        if self.how == "exit":
            raise SystemExit(7)

    def curve(self, name, points):
        pass

    def finish(self, summary, artifacts, failed):
        if self.how == "hangs":
            time.sleep(600)
        if self.how == "slow":
            time.sleep(1)
            self.took_all = True

    @property
    def patience(self):
        if self.how == "impatient":
            raise RuntimeError("no patience")
        self.asked += 1
        return 60 if self.how == "slow" and self.asked > 1 else 0.2

    @property
    def hint(self):
        raise RuntimeError("no hint")


class Odds(Tracker):
    def __init__(self, how):
        self.how = how

    def start(self, name, description):
        if self.how == "none":
            return None
        if self.how == "start":
            raise SystemExit(3)
        self.run = Odd(self.how)
        return self.run


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("exit", "Tracking failed: 7"),
        ("none", "the tracker started NoneType"),
        ("start", "The run is not tracked: 3"),
        ("hangs", "did not take everything in time.*dcm track DIR"),
    ],
)
def test_no_tracker_ends_or_holds_a_run(experiment, tmp_path, how, told) -> None:
    warnings: list[str] = []
    summary = experiment.run(tmp_path / "run", tracker=Odds(how), warn=warnings.append)
    assert summary["finished"] == 6
    (line,) = warnings
    assert re.search(told, line)


@pytest.mark.parametrize("how", ["slow", "impatient"])
def test_a_tracker_that_goes_on_is_waited_for(experiment, tmp_path, how) -> None:
    tracker, warnings = Odds(how), []
    experiment.run(tmp_path / "run", tracker=tracker, warn=warnings.append)
    assert warnings == []
    assert tracker.run.took_all == (how == "slow")
