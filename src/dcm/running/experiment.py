"""Experiment: the whole of a run, from a data set to a run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from dcm import fields
from dcm.criterion import ConvergenceCriterion
from dcm.dataset import TaskDataset
from dcm.engines import Engine, engine_of
from dcm.errors import UsageError
from dcm.evaluator import Evaluator
from dcm.fields import one_of, whole
from dcm.generator import Generator
from dcm.objective import Objective
from dcm.optimizer import Optimizer
from dcm.plugins import find
from dcm.running.description import ORIGIN
from dcm.running.progress import Progress
from dcm.serial import build, describe, is_description, refuse_remote_code
from dcm.tracking import Tracker


def _default(kind: str, name: str) -> Callable[[], Any]:
    def make() -> Any:
        return find(kind, name)()

    return make


_MOST = 10_000_000


def _positive(instance: object, attribute: attrs.Attribute[int], value: int | None) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and 1 <= value <= _MOST):
        do = f"Give a whole number from 1 to {_MOST:,}"
        raise UsageError(f"{attribute.name} = {value!r:.40} was asked for", "", do)


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
        interference: whether to measure, at each step, the cosine of the modes' gradients in the
            content; see `dcm.solve`.
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
    interference: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    on_error: str = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def describe(self) -> dict[str, Any]:
        """The serial form of the experiment: its components' and its own fields."""
        names = [field.name for field in attrs.fields(Experiment)]
        return {name: _describe(getattr(self, name)) for name in names}

    @classmethod
    def build(
        cls, description: Mapping[str, Any], *, trust_remote_code: bool = False
    ) -> Experiment:
        """The experiment that a serial form describes; what is not given keeps its default.

        Args:
            description: the serial form, as experiment.json has it.
            trust_remote_code: let it run code that comes with a model. A description may be
                anybody's, so that it cannot ask for that by itself.

        Raises:
            UsageError: an unknown field, or one with a wrong value, or code to be trusted.
        """
        if not trust_remote_code:
            refuse_remote_code(description)
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
        max_failures: float | None = None,
        engine: Engine | str | None = None,
        workers: int | None = None,
    ) -> dict[str, Any]:
        """Run it: baselines, solve, certify, evaluate, record, track.

        Args:
            directory: the run directory; absent or empty, unless `resume`.
            resume: go on with the run that is there. What is finished is not done again; what is
                damaged is, as is what a component failed.
            tracker: told what happens; its failure does not stop the run.
            on_progress: called while the examples are looked at, when all is loaded, after each
                step and after each example.
            warn: called with one line where something went wrong that does not stop the run.
            max_failures: the share of the examples on which a component may fail, 0 to 1; more
                stop the run. None stops it where the first 20, or all, fail.
            engine: where workers solve the examples: "local", "ray", "torchrun", or one of
                `dcm.engines`. None solves them in this process. Workers load the model themselves.
            workers: how many; None for one a GPU.

        Returns:
            What summary.json holds; nothing in a process that works for another (`torchrun`).

        Raises:
            DcmError: something asked for is wrong; nothing was written yet, or all that was
                computed is kept.
        """
        from dcm.running.many import WORK
        from dcm.running.session import Session

        chosen = None
        if engine is not None or workers is not None:
            chosen = engine_of(engine or "local", workers)
            if not chosen.leads:
                chosen.serve(WORK)
                return {}
        return Session(
            self, Path(directory), resume, tracker, on_progress, warn, max_failures, chosen
        ).run()


def _describe(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_describe(each) for each in value]
    return describe(value) if attrs.has(type(value)) else value


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_build(each) for each in value)
    return build(value) if is_description(value) else value
