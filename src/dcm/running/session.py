"""Session: one process's work on a run, from its beginning or from where it was left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm.engines import Engine
from dcm.errors import DcmError, UsageError
from dcm.running.alone import Alone
from dcm.running.curve_parts import CURVES
from dcm.running.curves import quartiles
from dcm.running.description import CHOSEN, FINGERPRINTS, read_description
from dcm.running.disk import on_disk
from dcm.running.evaluations import means, name_of
from dcm.running.fingerprints import of_examples
from dcm.running.forecast import seconds_left
from dcm.running.kept import is_to_be_tried_again
from dcm.running.looking import Looked
from dcm.running.many import Many
from dcm.running.progress import Progress
from dcm.running.provenance import provenance
from dcm.running.run_directory import EXPERIMENT, RESULTS, SUMMARY, RunDirectory
from dcm.running.summary import finite, share, summarise
from dcm.secrets import mask_secrets
from dcm.solver.guard import ComponentError, blame
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
        engine: Engine | None,
    ) -> None:
        self.experiment = experiment
        self.path = path
        self.resume = resume
        self.on_progress = on_progress
        self.warn = _masked(warn) if warn else lambda _line: None
        self.tracker = GuardedTracking(tracker, self.warn, self._progress)
        self.max_failures = max_failures
        self.force: Alone | Many = Alone(experiment, self._progress)
        if engine is not None:
            self.force = Many(experiment, engine, self._progress, self.warn)
        self.before = 0
        self.done = {"finished": 0, "exact": 0, "certified": 0}
        self.failures = 0
        self.looked = Looked()

    @property
    def examples(self) -> dict[str, str]:
        """id -> fingerprint."""
        return self.looked.examples

    def _on_looked(self, count: int, at: int) -> None:
        if self.on_progress:
            self.on_progress(Progress(count, 0, 0, 0, 0, 0.0, 0, None, looked_at=at))

    def run(self) -> dict[str, Any]:
        _check_share(self.max_failures)
        description = mask_secrets({**self.experiment.describe(), **provenance()})
        # Before anything slow is done: is it there, is it ours, can it be written to?
        with RunDirectory.claim(self.path, resume=self.resume) as run, closing(self.force):
            for line in run.warnings:
                self.warn(line)
            if self.resume:
                run.check_same_experiment(description)
            self.looked, facts = self.force.look(self._on_looked)
            for line in self.looked.warnings:
                self.warn(line)
            description[CHOSEN] = mask_secrets(facts.chosen)
            description[FINGERPRINTS] = {
                "examples": of_examples(self.examples),
                "weights": facts.weights,
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
        origin = {"directory": str(self.path.resolve()), "key": run.key}
        self.tracker.start(self.path.resolve().name, {**description, **origin})
        self.began = time.perf_counter()
        summary: dict[str, Any] = {}
        failed = interrupted = True
        try:
            self._progress()
            for results in self.force.results(run, self._left(finished)):
                self._record(run, results, count)
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

    def _finished_before(self, run: RunDirectory) -> set[str]:
        finished = set()
        for result in run.results() if self.resume else ():
            finished.add(result["id"])
            self.done["exact"] += result["exact"]
            self.done["certified"] += result["certified"] is True
        self.before = self.done["finished"] = len(finished)
        return finished

    def _left(self, finished: set[str]) -> list[tuple[int, str]]:
        """Place and id of each example that is not finished."""
        return [
            (place, key)
            for place, key in zip(self.looked.places, self.examples, strict=True)
            if key not in finished
        ]

    def _record(self, run: RunDirectory, results: list[dict[str, Any]], count: int) -> None:
        for result in results:
            known = self.examples[result["id"]]
            if result.get("example", known) != known:
                asked = f"example {result['id']!r} says something else where it was solved"
                raise DcmError(asked, "", "Give every machine the same data")
            result["example"] = known
            self.done["finished"] += 1
            self.done["exact"] += result["exact"]
            self.done["certified"] += result["certified"] is True
        run.append(*results)
        finished = self.done["finished"]
        self.tracker.metrics(
            {
                "progress/exact_rate": share(self.done["exact"], finished),
                "progress/certified_rate": share(self.done["certified"], finished),
            },
            finished,
        )
        self._progress()
        for result in results:
            if is_to_be_tried_again(result):
                self.failures += 1
                self._check_failures(result, count, finished)

    def _check_failures(self, result: Mapping[str, Any], count: int, finished: int) -> None:
        most = self.max_failures
        if most is None:
            # A few failures are an accident; nothing but failures is not.
            stop = self.failures == finished and self.failures >= min(_HOPELESS, count)
            asked = f"the first {self.failures} examples all failed"
        else:
            stop = self.failures > most * count
            asked = f"{self.failures} of {count} examples failed, more than {most:.3g} of them"
        if stop:
            there = f"Example {result['id']!r:.80}: {result['reason']}"
            raise DcmError(asked, there, "Mend the component, then go on with --resume")

    def _track_curves(self, run: RunDirectory) -> None:
        if self.tracker.active and (run.path / CURVES).exists():
            for name, points in quartiles(run.path / CURVES).items():
                self.tracker.curve(name, points)

    def _progress(self, waiting: str = "") -> None:
        if self.on_progress is None:
            return
        count = len(self.examples)
        stats, seconds = self.force.stats, time.perf_counter() - self.began
        left = count - self.before
        self.on_progress(
            Progress(
                examples=count,
                **self.done,
                row_steps=stats.row_steps,
                seconds=seconds,
                lanes=stats.lanes,
                seconds_left=seconds_left(stats, left, seconds),
                waiting=waiting,
                phase=stats.phase,
                step=stats.step,
                loss=stats.loss,
                exact_share=stats.exact_share,
                workers=self.force.workers,
            )
        )

    def _summary(self, run: RunDirectory, count: int) -> dict[str, Any]:
        stats = self.force.stats
        seconds = time.perf_counter() - self.began
        summary = summarise(run.results(), count)
        # Measurements that served nobody, beside those that the results account for.
        wasted = stats.row_steps - stats.useful_row_steps
        useful = summary.pop("useful_row_steps") - wasted
        return {
            **summary,
            "skipped": self.looked.skipped,
            "remarks": self.looked.remarks,
            "row_steps": useful + wasted,
            "useful_row_steps": useful,
            "wall_seconds": round(run.seconds, 3),
            "row_steps_per_second": round(stats.row_steps / seconds, 3),
            "lanes": min(stats.lanes, count),
            **self.force.machine(),
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
            found["task"] = {key: finite(x) for key, x in means(by_evaluator["task"]).items()}
        return found

    def _tell_damage(self, run: RunDirectory) -> None:
        """Say what was damaged, each thing once."""
        lines, run.damage = run.damage, []
        for line in lines[:_MOST_TOLD]:
            self.warn(f"Damaged and put aside: {line}")
        if len(lines) > _MOST_TOLD:
            self.warn(f"Damaged and put aside: {len(lines)} in all")


def _check_share(value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        asked = f"a share of failures of {value} was asked for"
        raise UsageError(asked, "", "Give a number from 0 to 1")


def _masked(warn: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: warn(mask_secrets(line))
