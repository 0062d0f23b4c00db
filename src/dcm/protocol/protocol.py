"""Protocol: the stages one after the other, with their gates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from dcm.engines import Engine
from dcm.errors import DatasetError
from dcm.example import Example
from dcm.modes import Modes
from dcm.plugins import find
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.controls import SHUFFLED, compare, controlled, pair_key
from dcm.protocol.counting import Counting
from dcm.protocol.gates import Gate, failed
from dcm.protocol.infrastructure import infrastructure, vacuity
from dcm.protocol.joint import JointReport, Rates, joint_gates, single_gate, summary_of
from dcm.protocol.plan import Plan, one_attempt, part
from dcm.protocol.results import Result, read_curves, read_results
from dcm.protocol.rule import FalseConvergence, false_convergence
from dcm.protocol.signals import AFTER, Signal, few_converged
from dcm.protocol.spot_check import SpotCheck
from dcm.protocol.tracked import Draw, TrackedProtocol
from dcm.protocol.transfer import probe
from dcm.protocol.trials import Difference, Trial
from dcm.running.disk import write_json
from dcm.running.experiment import Experiment
from dcm.running.progress import Progress
from dcm.running.run_directory import EXPERIMENT, RunDirectory
from dcm.strands import Layout
from dcm.tracking import Tracker

PROTOCOL = "protocol.json"
BASELINES = "baselines.jsonl"
STOPPED = 3
"""Exit status of a protocol that stopped at a gate."""

Record = dict[str, Any]
"""What protocol.json holds."""


class _EarlyStop(Exception):  # noqa: N818 - not an error: what is finished counts
    """A signal says that a run need not go on."""


@attrs.frozen
class Listener:
    """Who is told what the protocol does.

    Attributes:
        on_run: a run begins; its name.
        on_progress: after each step of a run.
        on_stage: a stage is recorded; its name and the whole record.
        warn: one line on something that does not stop the protocol.
    """

    on_run: Callable[[str], None] = lambda _name: None
    on_progress: Callable[[Progress], None] = lambda _progress: None
    on_stage: Callable[[str, Record], None] = lambda _name, _record: None
    warn: Callable[[str], None] = lambda _line: None


class Protocol:
    """Carries out a plan in a folder, which gets protocol.json, and a run's folder for each run.

    Args:
        plan: what to do.
        directory: absent or empty, unless `resume`.
        resume: go on with the runs that are there.
        listener: told what happens.
        engine: where workers solve the examples of each run, as `Experiment.run` has it.
        tracker: gets a run of the protocol, and below it one of each of its experiments.
        draw: called with the folder at the end; the figures that it gives are tracked, too.
    """

    def __init__(
        self,
        plan: Plan,
        directory: str | Path,
        *,
        resume: bool = False,
        listener: Listener | None = None,
        engine: Engine | str | None = None,
        tracker: Tracker | None = None,
        draw: Draw | None = None,
    ) -> None:
        self.plan = plan
        self.path = Path(directory)
        self.resume = resume
        self.listener = listener or Listener()
        self.engine = engine
        self.tracker, self.draw = tracker, draw
        self.experiment = plan.experiment
        self.gates: list[Gate] = []
        self.record: Record = {}

    def run(self) -> Record:
        """Carry out the stages up to the first failed gate, or all of them if forced.

        Returns:
            What protocol.json holds. `stopped` says where and why it stopped, or is None;
            `forced` names the failed gates that it was made to pass.

        Raises:
            DcmError: something asked for is wrong.
        """
        if not self.resume:
            RunDirectory.check_free(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.record = {
            "plan": self.plan.describe(),
            "stages": {},
            "gates": [],
            "forced": [],
            "stopped": None,
            "seconds": {},
        }
        steps: list[tuple[str, bool, Callable[[], tuple[Record, list[Gate]]]]] = [
            ("0", True, self._stage_0),  # what later stages count by is measured here
            ("1", 1 in self.plan.stages, self._stage_1),
            ("2", bool({2, 3} & set(self.plan.stages)), self._stage_2),
            ("3", 3 in self.plan.stages, self._stage_3),
            ("transfer", bool(self.plan.controls) and 1 in self.plan.stages, self._transfer),
            ("controls", bool(self.plan.controls), self._controls),
            ("4", 4 in self.plan.stages, self._stage_4),
        ]
        warn = self.listener.warn
        tracked = TrackedProtocol(self.tracker, self.plan, self.path, warn, self.draw)
        self.tracker = tracked.below
        failed = interrupted = True
        try:
            for name, wanted, step in steps:
                if wanted and not self._do(name, step):
                    break
            failed = interrupted = False
        except Exception:
            interrupted = False
            raise
        finally:
            tracked.finish(self.record, failed=failed, interrupted=interrupted)
        return self.record

    def _do(self, name: str, step: Callable[[], tuple[Record, list[Gate]]]) -> bool:
        """Carry out one stage and record it; False if the protocol stops here."""
        began = time.perf_counter()
        found, gates = step()
        self.gates += gates
        record = self.record
        record["stages"][name] = found
        record["gates"] = [gate.as_json() for gate in self.gates]
        record["seconds"][name] = round(time.perf_counter() - began, 1)
        reasons = [{"gate": gate.name, "advice": gate.advice} for gate in failed(gates)]
        reasons += [
            {"gate": signal["name"], "advice": signal["advice"]}
            for signal in found.get("signals", [])
            if signal["fired"] and signal["stops"]
        ]
        if reasons and self.plan.force:
            record["forced"] += [{"stage": name, **reason} for reason in reasons]
        elif reasons:
            record["stopped"] = {"stage": name, "reasons": reasons}
        write_json(self.path / PROTOCOL, record)
        self.listener.on_stage(name, record)
        return record["stopped"] is None

    @cached_property
    def _examples(self) -> dict[str, Example]:
        return {example.id: example for example in self.experiment.dataset}

    @cached_property
    def _modes(self) -> Modes:
        layout: Layout = "suffix" if self.experiment.layout == "suffix" else "prefix"
        return Modes(self.experiment.generator, layout)

    @cached_property
    def _table(self) -> BaselineTable:
        experiment = self.experiment
        return BaselineTable.measure(
            experiment.generator,
            self._examples.values(),
            experiment.objective,
            self._modes,
            slots=experiment.slots,
            draws=max(1, experiment.baseline_draws),
            seed=experiment.seed,
        )

    @cached_property
    def _false(self) -> FalseConvergence:
        experiment = self.experiment
        return false_convergence(
            find("criterion", "seed-rule")(),
            experiment.generator,
            self._examples.values(),
            experiment.objective,
            self._table,
            self._modes,
            slots=experiment.slots,
            draws=self.plan.false_draws,
            seed=experiment.seed,
        )

    @cached_property
    def _counting(self) -> Counting:
        rule = find("criterion", "seed-rule")()
        return Counting.choose(rule, self._false, self.plan.decide_by)

    def _stage_0(self) -> tuple[Record, list[Gate]]:
        table = self._table
        table.write(self.path / BASELINES)
        found, gates = infrastructure(
            self.experiment, list(self._examples.values()), self._modes, table
        )
        baselines = [
            {
                "kind": kind,
                "mode": mode,
                "mean": table.overall(kind, mode).as_json(),
                "spread": table.typical_spread(kind, mode),
            }
            for kind, mode in table.kinds_and_modes()
        ]
        record = {
            **found,
            "baselines": baselines,
            "false_convergence": self._false.as_json(),
            "decides": self._counting.decides,
        }
        return record, [*gates, vacuity(self._false)]

    def _stage_1(self) -> tuple[Record, list[Gate]]:
        plan, base = self.plan, self.experiment
        record: Record = {}
        gates = []
        for mode in ("question", "answer"):
            experiment = attrs.evolve(
                base,
                objective=find("objective", "single")(mode=mode),
                dataset=part(base.dataset, plan.diagnostic_pairs, base.seed),
                optimizer=one_attempt(base.optimizer),
            )
            path = self._run(experiment, f"stage-1-{mode}")
            results = list(read_results(path).values())
            report = JointReport.of(results, read_curves(path), self._counting)
            record[mode] = {**summary_of(results), **report.as_json()}
            gates.append(single_gate(mode, report.rates))
        return record, gates

    def _stage_2(self) -> tuple[Record, list[Gate]]:
        measured = attrs.evolve(self.experiment, interference=True)
        path = self._run(measured, "stage-2", watched=not self.plan.force)
        results = list(read_results(path).values())
        report = JointReport.of(results, read_curves(path), self._counting)
        record = {**summary_of(results), **report.as_json()}
        return record, joint_gates(report.rates)

    def _stage_3(self) -> tuple[Record, list[Gate]]:
        results = list(read_results(self.path / "stage-2").values())
        verdicts = self._counting.flags(results)
        check = SpotCheck.of(
            results, verdicts, count=self.plan.spot_checks, seed=self.experiment.seed
        )
        degenerate = check.degenerate(Rates.of(results, self._counting).deciding)
        record = {**check.as_json(), "decides": self._counting.decides, "degenerate": degenerate}
        return record, [check.gate()]

    def _transfer(self) -> tuple[Record, list[Gate]]:
        both = (("question", "answer"), ("answer", "question"))
        probes = [
            probe(
                self.path / f"stage-1-{optimised}",
                self.experiment.generator,
                self._examples,
                self._table,
                self._modes,
                optimised=optimised,
                probed=probed,
            ).as_json()
            for optimised, probed in both
        ]
        return {"probes": probes}, []

    def _controls(self) -> tuple[Record, list[Gate]]:
        plan, base = self.plan, self.experiment
        small = attrs.evolve(
            base,
            dataset=part(base.dataset, plan.control_pairs, base.seed),
            optimizer=one_attempt(base.optimizer),
            criterion=find("criterion", "exact")(),
            max_steps=plan.control_steps,
        )
        runs: list[Record] = []
        left_out: dict[str, str] = {}
        trials: dict[str, dict[int, Trial]] = {}
        for name in ("true", *plan.controls):
            try:
                experiment = small if name == "true" else controlled(small, name)
                len(experiment.dataset)
            except DatasetError as error:
                left_out[name] = str(error)
                continue
            is_paired_by_mark = experiment.dataset is not small.dataset
            for slots in plan.control_slots:
                sized = attrs.evolve(experiment, slots=slots)
                trial = self._trial(
                    sized, f"controls/{name}-k{slots}", pair_key if is_paired_by_mark else str
                )
                trials.setdefault(name, {})[slots] = trial
                run = {"name": name, "slots": slots, **trial.as_json()}
                if name != "true":
                    difference = Difference.between(trials["true"][slots], trial)
                    run["minus_true"] = difference.as_json()
                runs.append(run)
        record: Record = {"runs": runs, "left_out": left_out, "max_steps": plan.control_steps}
        if SHUFFLED in trials:
            sentence = compare(trials["true"], trials[SHUFFLED])
            record["sentence"] = sentence.text
            record["shuffled_minus_true_steps"] = sentence.difference.as_json()
            record["steps_that_matter"] = sentence.bound
        return record, []

    def _stage_4(self) -> tuple[Record, list[Gate]]:
        plan = self.plan
        runs: list[Record] = []
        base: Trial | None = None
        for number, (label, changed) in enumerate(
            {"base": self.experiment, **plan.ablations}.items()
        ):
            experiment = attrs.evolve(
                changed,
                dataset=part(changed.dataset, plan.ablation_pairs, changed.seed),
                optimizer=one_attempt(changed.optimizer),
            )
            trial = self._trial(experiment, f"ablations/{number:02d}")
            run = {"label": label, "slots": experiment.slots, **trial.as_json()}
            if base is not None:
                run["minus_base"] = Difference.between(base, trial).as_json()
            base = base or trial
            runs.append(run)
        return {"runs": runs, "max_steps": self.experiment.max_steps}, []

    def _trial(self, experiment: Experiment, name: str, key: Callable[[str], str] = str) -> Trial:
        path = self._run(experiment, name)
        return Trial.of(
            list(read_results(path).values()),
            self._counting,
            slots=experiment.slots,
            max_steps=experiment.max_steps,
            encode=experiment.generator.encode,
            key=key,
        )

    def _run(self, experiment: Experiment, name: str, *, watched: bool = False) -> Path:
        """Run an experiment in a folder below, or go on with it; where the folder is."""
        path = self.path / name
        self.listener.on_run(name)
        looked = not watched

        def on_progress(progress: Progress) -> None:
            nonlocal looked
            self.listener.on_progress(progress)
            if not looked and progress.finished >= AFTER:
                looked = True
                if self._too_few(path).fired:
                    raise _EarlyStop

        # An example that does not fit counts as failed: the protocol shall not end by it.
        experiment = attrs.evolve(experiment, on_error="skip")
        resume = self.resume and (path / EXPERIMENT).exists()
        try:
            experiment.run(
                path,
                resume=resume,
                on_progress=on_progress,
                warn=self.listener.warn,
                engine=self.engine,
                tracker=self.tracker,
            )
        except _EarlyStop:
            self.listener.warn(f"{name} is stopped: too few of the first {AFTER} have converged")
        return path

    def _too_few(self, path: Path) -> Signal:
        results: Sequence[Result] = list(read_results(path).values())
        return few_converged(self._counting.flags(results), self._counting.decides)
