"""Experiment: the whole of a run, from a data set to a run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dcm import fields
from dcm.criterion import ConvergenceCriterion
from dcm.dataset import TaskDataset
from dcm.errors import UsageError
from dcm.evaluator import Evaluation, Evaluator
from dcm.fields import one_of, whole
from dcm.generator import Generator
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.optimizer import Optimizer
from dcm.outcome import Outcome
from dcm.plugins import find
from dcm.running.baselines import Baselines
from dcm.running.certify import Certifier
from dcm.running.chosen import CHOSEN, chosen_values
from dcm.running.curves import curve_rows, quartiles
from dcm.running.forecast import seconds_left
from dcm.running.progress import Progress
from dcm.running.provenance import ORIGIN, device_name, peak_memory, provenance
from dcm.running.run_directory import CURVES, EXPERIMENT, RESULTS, SUMMARY, RunDirectory
from dcm.running.summary import result_line, share, summarise
from dcm.serial import build, describe, is_description
from dcm.solver import Item, Stats, solve
from dcm.tracking import GuardedTracking, Tracker


def _default(kind: str, name: str) -> Callable[[], Any]:
    def make() -> Any:
        return find(kind, name)()

    return make


def _positive(instance: object, attribute: attrs.Attribute[int], value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UsageError(
            f"{attribute.name} = {value!r} was asked for", "", "Give a whole number of at least 1"
        )


@attrs.frozen
class Experiment:
    """Which examples, which model, how they are optimised and judged.

    A component may be given by its name alone: it then has its defaults.

    Attributes:
        generator: the frozen model.
        dataset: the examples.
        objective: which targets an example has.
        optimizer: start, step and attempts.
        criterion: when a row is done.
        evaluators: what each outcome is judged by, besides the data set's own grading.
        slots: K, content vectors per example.
        max_steps: most measurements of a row in one attempt.
        seed: seed of all randomness, together with example id and attempt.
        lanes: most rows at once; None chooses.
        layout: where the mode vector stands: `prefix` is [mode, c], `suffix` is [c, mode].
        baseline_draws: random contents that each target's baselines are measured behind;
            0 measures none.
        on_error: what to do with an example that does not fit the model: "stop" before anything
            is computed, or "skip" it and count it as FAILED.
    """

    generator: Generator = attrs.field(
        factory=_default("generator", "nano"), converter=fields.generator
    )
    dataset: TaskDataset = attrs.field(
        factory=_default("dataset", "samples"), converter=fields.dataset
    )
    objective: Objective = attrs.field(
        factory=_default("objective", "joint"), converter=fields.objective
    )
    optimizer: Optimizer = attrs.field(
        factory=_default("optimizer", "restarts"), converter=fields.optimizer
    )
    criterion: ConvergenceCriterion = attrs.field(
        factory=_default("criterion", "exact"), converter=fields.criterion
    )
    evaluators: tuple[Evaluator, ...] = attrs.field(
        factory=lambda: (find("evaluator", "greedy-decode")(),), converter=fields.evaluators
    )
    slots: int = attrs.field(default=32, validator=_positive)
    max_steps: int = attrs.field(default=500, validator=_positive)
    seed: int = attrs.field(default=0, validator=whole())
    lanes: int | None = attrs.field(default=None, validator=_positive)
    layout: str = attrs.field(default="prefix", validator=one_of("prefix", "suffix"))
    baseline_draws: int = attrs.field(default=3, validator=whole(0))
    on_error: str = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def describe(self) -> dict[str, Any]:
        """The serial form of the experiment: its components' and its own fields."""
        names = [field.name for field in attrs.fields(Experiment)]
        return {name: _describe(getattr(self, name)) for name in names}

    @classmethod
    def build(cls, description: Mapping[str, Any]) -> Experiment:
        """The experiment that a serial form describes; what is not given keeps its default.

        Raises:
            UsageError: an unknown field, or one with a wrong value.
        """
        known = {field.name for field in attrs.fields(cls)}
        values = {key: _build(value) for key, value in description.items() if key not in ORIGIN}
        for key in values:
            if key not in known:
                there = f"It has {', '.join(sorted(known))}"
                raise UsageError(f"an experiment has no field {key!r}", there)
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise UsageError("the experiment cannot be built", str(error.args[0])) from error

    def run(
        self,
        directory: str | Path,
        *,
        resume: bool = False,
        tracker: Tracker | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Run it: baselines, solve, certify, evaluate, record, track.

        Args:
            directory: the run directory; absent or empty, unless `resume`.
            resume: go on with the run that is there. What is finished is not done again.
            tracker: told what happens; its failure does not stop the run.
            on_progress: called when all is loaded, after each step and after each example.
            warn: called with one line where something went wrong that does not stop the run.

        Returns:
            What summary.json holds.

        Raises:
            DcmError: something asked for is wrong; nothing was written yet, or all that was
                computed is kept.
        """
        return _Running(self, Path(directory), resume, tracker, on_progress, warn).run()


class _Running:
    """One call of `Experiment.run`."""

    def __init__(
        self,
        experiment: Experiment,
        path: Path,
        resume: bool,
        tracker: Tracker | None,
        on_progress: Callable[[Progress], None] | None,
        warn: Callable[[str], None] | None,
    ) -> None:
        self.experiment = experiment
        self.path = path
        self.resume = resume
        self.on_progress = on_progress
        self.tracker = GuardedTracking(tracker, warn or (lambda _line: None))
        self.stats = Stats()
        self.before = {"finished": 0, "exact": 0, "certified": 0}

    def run(self) -> dict[str, Any]:
        experiment = self.experiment
        chosen = chosen_values(experiment)
        description = {**experiment.describe(), CHOSEN: chosen, **provenance()}
        if self.resume:
            RunDirectory.open(self.path)
        else:
            RunDirectory.check_free(self.path)
        count = self._check_examples()
        opened = RunDirectory.resume if self.resume else RunDirectory.create
        run = opened(self.path, description)
        finished = self._finished_before(run)
        summary_path = run.path / SUMMARY
        if len(finished) == count and summary_path.exists():
            # Nothing is left to do, and the summary tells of the run that did it.
            before: dict[str, Any] = json.loads(summary_path.read_text(encoding="utf-8"))
            run.finish(before)
            return before
        self.tracker.start(self.path.resolve().name, description)
        self.began = time.perf_counter()
        failed = True
        try:
            self._progress(count)
            for outcome in self._outcomes(run, finished, count):
                self._record(run, outcome, count)
            summary = self._summary(run, count)
            run.finish(summary)
            failed = False
        finally:
            files = [run.path / name for name in (EXPERIMENT, RESULTS, SUMMARY, CURVES)]
            self._track_curves(run)
            self.tracker.finish(
                {} if failed else summary, [file for file in files if file.exists()], failed
            )
        return summary

    def _check_examples(self) -> int:
        """Look at every example once before anything is computed; how many there are."""
        experiment = self.experiment
        generator, seen = experiment.generator, set()
        for example in experiment.dataset:
            if example.id in seen:
                asked = f"the data set has the id {example.id!r} twice"
                raise UsageError(asked, "", "Ids must differ")
            seen.add(example.id)
            self._looked_at(len(seen))
            if experiment.on_error == "stop":
                item = Item.of(example, experiment.objective, generator)
                reason = item.reason_not_to_fit(experiment.slots, generator.context_length)
                if reason:
                    do = "Shorten it, use fewer slots, or leave such examples out by on_error=skip"
                    raise UsageError(f"example {example.id!r} does not fit", reason, do)
        if not seen:
            raise UsageError("the data set is empty", "", "Check its path, limit and offset")
        return len(seen)

    def _finished_before(self, run: RunDirectory) -> set[str]:
        finished = set()
        for result in run.results():
            finished.add(result["id"])
            self.before["finished"] += 1
            self.before["exact"] += result["exact"]
            self.before["certified"] += result["certified"] is True
        return finished

    def _outcomes(self, run: RunDirectory, finished: set[str], count: int) -> Iterator[Outcome]:
        experiment = self.experiment
        modes = Modes(experiment.generator, "suffix" if experiment.layout == "suffix" else "prefix")
        certifier = Certifier(experiment.generator, experiment.objective, modes, run)

        def verify(outcomes: Sequence[Outcome]) -> list[Outcome]:
            # Before their lines: an example whose line is written is not solved again.
            run.save_curves(curve_rows(outcomes))
            return certifier(outcomes)

        def on_step(stats: Stats) -> None:
            self._progress(count)

        draws = experiment.baseline_draws
        needed = draws or experiment.criterion.needs_baselines
        return solve(
            experiment.generator,
            (example for example in experiment.dataset if example.id not in finished),
            objective=experiment.objective,
            optimizer=experiment.optimizer,
            criterion=experiment.criterion,
            slots=experiment.slots,
            max_steps=experiment.max_steps,
            seed=experiment.seed,
            lanes=experiment.lanes,
            modes=modes,
            baselines=Baselines(max(1, draws)) if needed else None,
            verify=verify,
            stats=self.stats,
            on_step=on_step,
        )

    def _record(self, run: RunDirectory, outcome: Outcome, count: int) -> None:
        result = result_line(outcome, self._evaluate(outcome))
        if outcome.content is not None:
            result["content"] = run.ref(outcome.example.id)
        run.append(result)
        finished = self.before["finished"] + self.stats.finished
        self.tracker.metrics(
            {
                "progress/finished": finished,
                "progress/exact_rate": share(self.before["exact"] + self.stats.exact, finished),
                "progress/certified_rate": share(
                    self.before["certified"] + self.stats.certified, finished
                ),
            },
            finished,
        )
        self._progress(count)

    def _evaluate(self, outcome: Outcome) -> dict[str, Evaluation]:
        """evaluator -> evaluation, and `task` -> the data set's own grades of the answer."""
        found: dict[str, Evaluation] = {}
        if outcome.content is None:
            return found
        for evaluator in self.experiment.evaluators:
            (evaluation,) = evaluator.evaluate(
                self.experiment.generator, [outcome.example], [outcome]
            )
            found[_name(evaluator)] = evaluation
        if "answer" in outcome.decoded:
            grades = self.experiment.dataset.grade(outcome.example, outcome.decoded["answer"])
            found["task"] = dict(grades)
        return found

    def _track_curves(self, run: RunDirectory) -> None:
        if self.tracker.active and (run.path / CURVES).exists():
            for name, points in quartiles(run.path / CURVES).items():
                self.tracker.curve(name, points)

    def _looked_at(self, count: int) -> None:
        if self.on_progress is not None:
            total = len(self.experiment.dataset)
            self.on_progress(
                Progress(total, 0, 0, 0, 0, 0.0, 0, None, phase="checking", looked_at=count)
            )

    def _progress(self, count: int) -> None:
        if self.on_progress is None:
            return
        stats, seconds = self.stats, time.perf_counter() - self.began
        left = count - self.before["finished"]
        self.on_progress(
            Progress(
                examples=count,
                finished=self.before["finished"] + stats.finished,
                exact=self.before["exact"] + stats.exact,
                certified=self.before["certified"] + stats.certified,
                row_steps=stats.row_steps,
                seconds=seconds,
                lanes=stats.lanes,
                seconds_left=seconds_left(stats, left, seconds),
                phase=stats.phase,
                step=stats.step,
                loss=stats.loss,
                exact_share=stats.exact_share,
            )
        )

    def _summary(self, run: RunDirectory, count: int) -> dict[str, Any]:
        experiment, stats = self.experiment, self.stats
        seconds = time.perf_counter() - self.began
        summary = summarise(run.results(), count)
        # Measurements that served nobody, beside those that the results account for.
        wasted = stats.row_steps - stats.useful_row_steps
        useful = summary.pop("useful_row_steps") - wasted
        return {
            **summary,
            "skipped": dict(experiment.dataset.skipped),
            "remarks": list(experiment.dataset.remarks),
            "row_steps": useful + wasted,
            "useful_row_steps": useful,
            "wall_seconds": round(seconds, 3),
            "row_steps_per_second": round(stats.row_steps / seconds, 3),
            "peak_memory_bytes": peak_memory(str(experiment.generator.device)),
            "device": device_name(str(experiment.generator.device)),
            "dtype": str(experiment.generator.dtype).removeprefix("torch."),
            "lanes": min(stats.lanes, count),
            "evaluations": self._evaluation_summary(run),
        }

    def _evaluation_summary(self, run: RunDirectory) -> dict[str, dict[str, float]]:
        by_evaluator: dict[str, list[Mapping[str, object]]] = {}
        for result in run.results():
            for name, evaluation in result["evaluations"].items():
                by_evaluator.setdefault(name, []).append(evaluation)
        found = {}
        for evaluator in self.experiment.evaluators:
            if _name(evaluator) in by_evaluator:
                found[_name(evaluator)] = evaluator.summarise(by_evaluator[_name(evaluator)])
        if "task" in by_evaluator:
            found["task"] = _means(by_evaluator["task"])
        return found


def _describe(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_describe(each) for each in value]
    return describe(value) if attrs.has(type(value)) else value


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_build(each) for each in value)
    return build(value) if is_description(value) else value


def _name(evaluator: Evaluator) -> str:
    return str(describe(evaluator)["name"])


def _means(evaluations: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """The mean of every number in them."""
    found: dict[str, list[float]] = {}
    for evaluation in evaluations:
        for key, value in evaluation.items():
            if isinstance(value, int | float):
                found.setdefault(key, []).append(float(value))
    return {key: sum(values) / len(values) for key, values in found.items()}
