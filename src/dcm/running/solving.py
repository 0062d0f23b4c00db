"""Solving: examples become result lines, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dcm.evaluator import Evaluation
from dcm.example import Example
from dcm.modes import Modes
from dcm.outcome import Outcome, Status
from dcm.running.baselines import Baselines
from dcm.running.certify import Certifier
from dcm.running.chosen import chosen_values
from dcm.running.curves import curve_rows
from dcm.running.evaluations import flat, name_of
from dcm.running.looking import example_at
from dcm.running.provenance import device_name, peak_memory
from dcm.running.run_directory import RunDirectory
from dcm.running.summary import result_line
from dcm.solver import Stats, solve
from dcm.solver.guard import ComponentError, blame

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment


@attrs.frozen
class Facts:
    """What a process that solves has found its model and machine to be.

    Attributes:
        weights: the fingerprint of the model.
        chosen: what it chose where no value was given.
        device: its device, by name.
        dtype: what the model computes in.
        trials: what was tried of the model.
    """

    weights: str
    chosen: dict[str, Any]
    device: str
    dtype: str
    trials: dict[str, Any]

    @classmethod
    def of(cls, experiment: Experiment) -> Facts:
        generator = experiment.generator
        return cls(
            weights=generator.fingerprint,
            chosen=chosen_values(experiment),
            device=device_name(str(generator.device)),
            dtype=str(generator.dtype).removeprefix("torch."),
            trials=dict(generator.trials),
        )


class Solving:
    """Solves, certifies and evaluates examples.

    Args:
        experiment: how.
        run: where contents and curves are saved before their lines are; None where another
            process does that.

    Attributes:
        stats: of the solver.
        modes: the mode vectors.
        unreadable: outcomes of examples that the data set gave once and does no more.
    """

    def __init__(self, experiment: Experiment, run: RunDirectory | None) -> None:
        self.experiment, self.run = experiment, run
        self.stats = Stats()
        layout = "suffix" if experiment.layout == "suffix" else "prefix"
        self.modes = Modes(experiment.generator, "suffix" if layout == "suffix" else "prefix")
        self.unreadable: list[Outcome] = []

    def outcomes(
        self, examples: Iterable[Example], on_step: Callable[[], None]
    ) -> Iterator[Outcome]:
        """What becomes of each, certified."""
        experiment = self.experiment
        certifier = Certifier(experiment.generator, experiment.objective, self.modes, self.run)

        def verify(outcomes: Sequence[Outcome]) -> list[Outcome]:
            if self.run is not None:
                # Before their lines: an example whose line is written is not solved again.
                self.run.save_curves(curve_rows(outcomes))
            return certifier(outcomes)

        def step(_stats: Stats) -> None:
            on_step()

        draws = experiment.baseline_draws
        needed = draws or experiment.criterion.needs_baselines
        return solve(
            experiment.generator,
            examples,
            objective=experiment.objective,
            optimizer=experiment.optimizer,
            criterion=experiment.criterion,
            slots=experiment.slots,
            max_steps=experiment.max_steps,
            seed=experiment.seed,
            lanes=experiment.lanes,
            modes=self.modes,
            baselines=Baselines(max(1, draws)) if needed else None,
            verify=verify,
            stats=self.stats,
            on_step=step,
            on_phase=step,
            interference=experiment.interference,
        )

    def example(self, place: int, key: str) -> Example | None:
        """The example at a place of the data set; None where it cannot be read any more."""
        try:
            return example_at(self.experiment.dataset, place)
        except ComponentError as error:
            lost = Example(key, "(unreadable)", "(unreadable)")
            self.unreadable.append(Outcome(lost, Status.FAILED, reason=error.reason))
            return None

    def result(self, outcome: Outcome) -> dict[str, Any]:
        """The line of results.jsonl that an outcome becomes, without the place of its content."""
        try:
            evaluations = self._evaluate(outcome)
        except ComponentError as error:
            evaluations = {}
            outcome = attrs.evolve(outcome, status=Status.FAILED, reason=error.reason)
        return result_line(outcome, evaluations)

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

    def peak_memory(self) -> int:
        """Most bytes that this process held at once."""
        return peak_memory(str(self.experiment.generator.device))
