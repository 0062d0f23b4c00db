"""Session: one process's work on a run, from its beginning or from where it was left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import DatasetError, DcmError, UsageError
from dcm.evaluator import Evaluation
from dcm.example import Example
from dcm.modes import Modes
from dcm.outcome import FAILING, Outcome, Status
from dcm.running.baselines import Baselines
from dcm.running.certify import Certifier, unwritable
from dcm.running.chosen import chosen_values
from dcm.running.curve_parts import CURVES
from dcm.running.curves import curve_rows, quartiles
from dcm.running.description import CHOSEN, FINGERPRINTS, read_description
from dcm.running.disk import on_disk
from dcm.running.evaluations import flat, means, name_of
from dcm.running.fingerprints import of_example, of_examples
from dcm.running.forecast import seconds_left
from dcm.running.progress import Progress
from dcm.running.provenance import device_name, peak_memory, provenance
from dcm.running.run_directory import EXPERIMENT, RESULTS, SUMMARY, RunDirectory
from dcm.running.summary import finite, result_line, share, summarise
from dcm.secrets import mask_secrets
from dcm.solver import Stats, solve
from dcm.solver.guard import ComponentError, blame, item_of
from dcm.tracking import GuardedTracking, Tracker

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment

# So many examples in a row on which a component fails are no accident.
_HOPELESS = 20
_MOST_TOLD = 5


class Session:
    """One call of `Experiment.run`, whose arguments it takes."""

    def __init__(
        self,
        experiment: Experiment,
        path: Path,
        resume: bool,
        tracker: Tracker | None,
        on_progress: Callable[[Progress], None] | None,
        warn: Callable[[str], None] | None,
        max_failures: float | None,
    ) -> None:
        self.experiment = experiment
        self.path = path
        self.resume = resume
        self.on_progress = on_progress
        self.warn = _masked(warn) if warn else lambda _line: None
        self.tracker = GuardedTracking(tracker, self.warn, self._progress)
        self.max_failures = max_failures
        self.stats = Stats()
        self.before = {"finished": 0, "exact": 0, "certified": 0}
        self.failures = 0
        self.skipped: dict[str, int] = {}
        self.places: list[int] = []
        self.unreadable: list[Outcome] = []
        self.examples: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        _check_share(self.max_failures)
        chosen = {CHOSEN: chosen_values(self.experiment)}
        description = mask_secrets({**self.experiment.describe(), **chosen, **provenance()})
        # Before anything slow is done: is it there, is it ours, can it be written to?
        with RunDirectory.claim(self.path, resume=self.resume) as run:
            for line in run.warnings:
                self.warn(line)
            if self.resume:
                run.check_same_experiment(description)
            self.examples = self._look_at_examples()
            description[FINGERPRINTS] = {
                "examples": of_examples(self.examples),
                "weights": self.experiment.generator.fingerprint,
            }
            if self.resume:
                run.go_on(description, self.examples)
                self._tell_damage(run)
            else:
                run.begin(description)
            return self._work(run, read_description(run.path / EXPERIMENT))

    def _work(self, run: RunDirectory, description: dict[str, Any]) -> dict[str, Any]:
        count, finished = len(self.examples), self._finished_before(run)
        if len(finished) == count and (before := run.summary()) is not None:
            # Nothing is left to do, and the summary tells of the run that did it.
            run.finish(before)
            self._tell_damage(run)
            return before
        with on_disk(run.path / SUMMARY):
            (run.path / SUMMARY).unlink(missing_ok=True)
        self.tracker.start(self.path.resolve().name, description)
        self.began = time.perf_counter()
        summary: dict[str, Any] = {}
        failed = interrupted = True
        try:
            self._progress()
            for outcome in self._outcomes(run, finished):
                self._record(run, outcome, count)
            summary = self._summary(run, count)
            run.finish(summary)
            self._tell_damage(run)
            failed = interrupted = False
        except Exception:
            interrupted = False
            raise
        finally:
            files = [run.path / name for name in (EXPERIMENT, RESULTS, SUMMARY, CURVES)]
            if not interrupted:
                self._track_curves(run)
            there = [file for file in files if file.exists()]
            self.tracker.finish(summary, there, failed, interrupted)
        return summary

    def _look_at_examples(self) -> dict[str, str]:
        """Look at every example once before anything is computed: id -> fingerprint."""
        experiment, seen = self.experiment, dict[str, str]()
        generator, stop = experiment.generator, experiment.on_error == "stop"
        unwritten: list[str] = []
        try:
            with blame(experiment.dataset, "__len__"):
                count = len(experiment.dataset)
        except ComponentError as error:
            raise (error.__cause__ if isinstance(error.__cause__, DcmError) else error) from None
        for place in range(count):
            if self.on_progress and place % 1000 == 999:
                self.on_progress(Progress(count, 0, 0, 0, 0, 0.0, 0, None, looked_at=place + 1))
            try:
                example = self._example(place)
            except ComponentError as error:
                if stop:
                    raise DatasetError(
                        f"example number {place} cannot be read",
                        f"{error.asked}: {error.there}",
                        "Mend the data set, or leave such examples out by on_error=skip",
                    ) from error
                self.skipped["unreadable"] = self.skipped.get("unreadable", 0) + 1
                continue
            if example.id in seen:
                asked = f"the data set has the id {example.id!r} twice"
                raise UsageError(asked, "", "Ids must differ")
            seen[example.id] = of_example(example)
            self.places.append(place)
            try:
                item = item_of(example, experiment.objective, generator)
            except ComponentError:
                continue  # it fails alone, when its turn comes
            reasons = (unwritable(generator, each) for each in item.targets if each.checked)
            unwritten.extend([f"{example.id!r}, {reason}" for reason in reasons if reason][:1])
            if stop:
                reason = item.reason_not_to_fit(experiment.slots, generator.context_length)
                if reason:
                    do = "Shorten it, use fewer slots, or leave such examples out by on_error=skip"
                    raise UsageError(f"example {example.id!r} does not fit", reason, do)
        if unwritten:
            self.warn(
                f"{len(unwritten)} of {len(seen)} examples cannot be certified, the model's "
                f"tokenizer does not write their texts. {unwritten[0]}"
            )
        if not seen:
            raise UsageError("the data set is empty", "", "Check its path, limit and offset")
        return seen

    def _example(self, place: int) -> Example:
        """An example of the data set.

        Raises:
            ComponentError: the data set fails on it.
            DatasetError: the source is missing or malformed.
        """
        dataset = self.experiment.dataset
        try:
            with blame(dataset, "__getitem__"):
                example = dataset[place]
                if not isinstance(example, Example):
                    raise TypeError(f"It gave {type(example).__name__}, not an Example")
        except ComponentError as error:
            if isinstance(error.__cause__, DatasetError):
                raise error.__cause__ from None
            raise
        return example

    def _finished_before(self, run: RunDirectory) -> set[str]:
        finished = set()
        for result in run.results() if self.resume else ():
            finished.add(result["id"])
            self.before["finished"] += 1
            self.before["exact"] += result["exact"]
            self.before["certified"] += result["certified"] is True
        return finished

    def _left(self, finished: set[str]) -> Iterator[Example]:
        for place, key in zip(self.places, self.examples, strict=True):
            if key in finished:
                continue
            try:
                yield self._example(place)
            except ComponentError as error:
                lost = Example(key, "(unreadable)", "(unreadable)")
                self.unreadable.append(Outcome(lost, Status.FAILED, reason=error.reason))

    def _outcomes(self, run: RunDirectory, finished: set[str]) -> Iterator[Outcome]:
        experiment = self.experiment
        modes = Modes(experiment.generator, "suffix" if experiment.layout == "suffix" else "prefix")
        certifier = Certifier(experiment.generator, experiment.objective, modes, run)

        def verify(outcomes: Sequence[Outcome]) -> list[Outcome]:
            # Before their lines: an example whose line is written is not solved again.
            run.save_curves(curve_rows(outcomes))
            return certifier(outcomes)

        def on_step(_stats: Stats) -> None:
            self._progress()

        draws = experiment.baseline_draws
        needed = draws or experiment.criterion.needs_baselines
        yield from solve(
            experiment.generator,
            self._left(finished),
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
            on_phase=on_step,
            interference=experiment.interference,
        )
        for outcome in self.unreadable:
            self.stats.finished += 1
            yield outcome

    def _record(self, run: RunDirectory, outcome: Outcome, count: int) -> None:
        try:
            evaluations = self._evaluate(outcome)
        except ComponentError as error:
            evaluations = {}
            outcome = attrs.evolve(outcome, status=Status.FAILED, reason=error.reason)
        result = result_line(outcome, evaluations)
        if outcome.content is not None:
            result["content"] = run.ref(outcome.example.id)
        result["example"] = self.examples[outcome.example.id]
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
        self._progress()
        if failing(outcome):
            self.failures += 1
            self._check_failures(outcome, count, finished)

    def _check_failures(self, outcome: Outcome, count: int, finished: int) -> None:
        most = self.max_failures
        if most is None:
            # A few failures are an accident; nothing but failures is not.
            stop = self.failures == finished and self.failures >= min(_HOPELESS, count)
            asked = f"the first {self.failures} examples all failed"
        else:
            stop = self.failures > most * count
            asked = f"{self.failures} of {count} examples failed, more than {most:.3g} of them"
        if stop:
            there = f"Example {outcome.example.id!r:.80}: {outcome.reason}"
            raise DcmError(asked, there, "Mend the component, then go on with --resume")

    def _evaluate(self, outcome: Outcome) -> dict[str, Evaluation]:
        """evaluator -> evaluation, and `task` -> the data set's own grades of the answer."""
        found: dict[str, Evaluation] = {}
        if outcome.content is None or outcome.status is Status.FAILED:
            return found
        example, dataset = outcome.example, self.experiment.dataset
        for evaluator in self.experiment.evaluators:
            with blame(evaluator, "evaluate"):
                (evaluation,) = evaluator.evaluate(self.experiment.generator, [example], [outcome])
                found[name_of(evaluator)] = flat(evaluation)
        if "answer" in outcome.decoded:
            with blame(dataset, "grade"):
                found["task"] = flat(dataset.grade(example, outcome.decoded["answer"]))
        return found

    def _track_curves(self, run: RunDirectory) -> None:
        if self.tracker.active and (run.path / CURVES).exists():
            for name, points in quartiles(run.path / CURVES).items():
                self.tracker.curve(name, points)

    def _progress(self, waiting: str = "") -> None:
        if self.on_progress is None:
            return
        count = len(self.examples)
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
                waiting=waiting,
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
            "skipped": {**experiment.dataset.skipped, **self.skipped},
            "remarks": list(experiment.dataset.remarks),
            "row_steps": useful + wasted,
            "useful_row_steps": useful,
            "wall_seconds": round(run.seconds, 3),
            "row_steps_per_second": round(stats.row_steps / seconds, 3),
            "peak_memory_bytes": peak_memory(str(experiment.generator.device)),
            "device": device_name(str(experiment.generator.device)),
            "dtype": str(experiment.generator.dtype).removeprefix("torch."),
            "lanes": min(stats.lanes, count),
            "trials": dict(experiment.generator.trials),
            "evaluations": self._evaluation_summary(run),
        }

    def _evaluation_summary(self, run: RunDirectory) -> dict[str, dict[str, float | None]]:
        by_evaluator: dict[str, list[Mapping[str, object]]] = {}
        for result in run.results():
            for name, evaluation in result["evaluations"].items():
                by_evaluator.setdefault(name, []).append(evaluation)
        found: dict[str, dict[str, float | None]] = {}
        for evaluator in self.experiment.evaluators:
            name = name_of(evaluator)
            if name in by_evaluator:
                try:
                    with blame(evaluator, "summarise"):
                        numbers = evaluator.summarise(by_evaluator[name])
                        found[name] = {
                            str(key): finite(float(value)) for key, value in numbers.items()
                        }
                except ComponentError as error:
                    self.warn(f"The summary lacks what this evaluator says: {error}")
        if "task" in by_evaluator:
            found["task"] = dict(means(by_evaluator["task"]))
        return found

    def _tell_damage(self, run: RunDirectory) -> None:
        """Say what was damaged, each thing once."""
        lines, run.damage = run.damage, []
        for line in lines[:_MOST_TOLD]:
            self.warn(f"Damaged and put aside: {line}")
        if len(lines) > _MOST_TOLD:
            self.warn(f"Damaged and put aside: {len(lines)} in all")


def failing(outcome: Outcome) -> bool:
    """Whether a component failed on the example."""
    return outcome.status is Status.FAILED and outcome.reason.startswith(FAILING)


def _check_share(value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        asked = f"a share of failures of {value} was asked for"
        raise UsageError(asked, "", "Give a number from 0 to 1")


def _masked(warn: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: warn(mask_secrets(line))
