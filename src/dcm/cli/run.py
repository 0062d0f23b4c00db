"""Request: what `dcm run` was asked, and doing it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console

from dcm.cli.fields import component
from dcm.cli.overrides import (
    TRACKER,
    build_parts,
    check,
    check_remote_code,
    default_tracker,
    override,
    read_form,
    split,
)
from dcm.cli.progress import ProgressLine
from dcm.cli.tables import closing_table
from dcm.cli.workforce import Workforce, default_engine
from dcm.errors import DcmError, UsageError
from dcm.plugins import installed
from dcm.running.description import ORIGIN
from dcm.running.many import WORK
from dcm.running.run_directory import EXPERIMENT, RunDirectory
from dcm.secrets import mask_secrets
from dcm.serial import REMOTE_CODE, Description, build
from dcm.tracking import TrackedRun, Tracker

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment


@attrs.define
class Request:
    """What the command line asks for.

    Attributes:
        experiment: an experiment.json; None for the defaults, or for the one of a run to resume.
        chosen: component kind -> name, or None where none was chosen.
        evaluators: names; none for the experiment's own.
        settings: `key=value` texts.
        seed: the seed, if one was given.
        out: the run's folder, if one was given; `run` fills it in.
        resume: go on with the run that is there.
        track: whether to track the run.
        json: print the summary as JSON.
        max_failures: the share of the examples on which a component may fail.
        workforce: who works.
    """

    experiment: Path | None
    chosen: Mapping[str, str | None]
    evaluators: Sequence[str]
    settings: Sequence[str]
    seed: int | None
    out: Path | None
    resume: bool
    track: bool
    json: bool
    max_failures: float | None = None
    workforce: Workforce = attrs.field(factory=Workforce)
    _running: bool = attrs.field(default=False, init=False)

    def run(self) -> None:
        """Run the experiment and print what it came to.

        Raises:
            DcmError: what was asked cannot be done, or the run failed.
        """
        settings = [split(setting) for setting in self.settings]
        engine = self.workforce.find()
        if engine is not None and not engine.leads:
            engine.serve(WORK)
            return
        if engine is not None and engine.restarted:
            if self.out is None:
                asked = "a job that was started again does not know its run"
                raise UsageError(asked, "", "Say which from the beginning: --out DIR")
            self.resume = self.resume or (self.out / EXPERIMENT).exists()
        form = self._form()
        check_remote_code(form, settings)
        with ProgressLine() as line:
            override(form, settings)
            check(form)
            tracker_form = form.pop(TRACKER, None)
            experiment = built(form)
            generator, dataset = _short_names(experiment)
            self.out = out = self.out or _new_folder(f"{dataset}-{generator}")
            tracker = tracker_for(tracker_form, self.track, line.warn)
            line.load(f"{generator} and {dataset}")
            unasked = tracker is not None and tracker_form is None and tracker.place
            told = [f"tracking in {unasked} (--no-track: do not)"] if unasked else []
            line.told_when_loaded = lambda: [*told, *experiment.dataset.remarks]
            self._running = True
            summary = experiment.run(
                out,
                resume=self.resume,
                tracker=tracker,
                on_progress=line,
                warn=line.warn,
                max_failures=self.max_failures,
                engine=engine or default_engine(form),
            )
        if self.json:
            print(json.dumps({**summary, "out": str(out)}, indent=2, ensure_ascii=False))
            return
        console = Console(highlight=False)
        console.print(closing_table(summary, str(out)))
        if tracker and not line.warned and (hint := tracker.hint()):
            console.print(f"To look further: {hint}", soft_wrap=True, markup=False)

    def how_to_go_on(self) -> str:
        """A sentence on what there is after a failure; nothing where nothing was begun."""
        if not (self._running and self.out and (self.out / EXPERIMENT).exists()):
            return ""
        command = ["dcm", "run", "--out", str(self.out), "--resume"]
        if not self.track:
            command.append("--no-track")
        for setting in self.settings:
            key = setting.partition("=")[0].strip()
            # What experiment.json does not say, or is not believed.
            if key.startswith(TRACKER) or key.rpartition(".")[2] == REMOTE_CODE:
                command += ["--set", mask_secrets(setting)]
        if self.max_failures is not None:
            command += ["--max-failures", f"{self.max_failures:g}"]
        command += self.workforce.arguments()
        return f"What is finished is kept; go on with: {shlex.join(command)}"

    def _form(self) -> Description:
        """The experiment before `--set`. Whatever can be wrong without loading anything is told
        at once."""
        evaluators = [("evaluator", name) for name in self.evaluators]
        for kind, name in [*self.chosen.items(), *evaluators]:
            if name:
                installed().registered(kind, name)
        path = self.experiment
        if self.resume:
            if self.out is None:
                raise UsageError("--resume was asked for", "", "Say which run: --out DIR")
            run = RunDirectory.open(self.out)
            path = path or run.path / EXPERIMENT
        elif self.out is not None:
            RunDirectory.check_free(self.out)
        form = form_of(path, [split(setting) for setting in self.settings])
        form |= {kind: component(kind, name) for kind, name in self.chosen.items() if name}
        if self.evaluators:
            form["evaluators"] = [component("evaluator", name) for name in self.evaluators]
        if self.seed is not None:
            form["seed"] = self.seed
        return form


def form_of(path: Path | None, settings: Sequence[tuple[str, str]]) -> Description:
    """The serial form in a file or folder, of a tracked run `mlflow:RUN_ID`, or an empty one.

    Args:
        path: which, as the command line has it.
        settings: those of the tracker say where it is tracked.

    Raises:
        UsageError: there is none.
    """
    if path is None:
        return {}
    name, colon, run = str(path).partition(":")
    if not colon or path.exists() or name not in {each.name for each in installed().all(TRACKER)}:
        return read_form(path)
    form: Description = {TRACKER: component(TRACKER, name)}
    override(form, [at for at in settings if at[0].startswith(f"{TRACKER}.")])
    tracker: Tracker = build(form[TRACKER])
    found = tracker.description_of(run)
    return {key: value for key, value in found.items() if key not in ORIGIN}


def tracker_for(
    form: Description | None, track: bool, warn: Callable[[str], None]
) -> Remembering | None:
    """The tracker asked for, else MLflow if it is there."""
    if not track:
        if form is not None:
            asked = "--no-track and --set tracker were given"
            raise UsageError(asked, "", "Leave out one of them")
        return None
    if form is not None:
        return Remembering(build(form))
    try:
        return Remembering(default_tracker())
    except DcmError as error:
        warn(f"The run is not tracked: {error}")
        return None


class Remembering(Tracker):
    """A tracker that remembers the run it started, which knows how to look at it."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.started: TrackedRun | None = None

    @property
    def place(self) -> str:
        return self._tracker.place

    def start(self, name: str, description: Mapping[str, Any]) -> TrackedRun:
        self.started = self._tracker.start(name, description)
        return self.started

    def hint(self) -> str:
        """How to look at the run it started; nothing where it cannot say."""
        try:
            return mask_secrets(self.started.hint) if self.started else ""
        except (Exception, SystemExit):  # noqa: BLE001 - tracking must not stop a run
            return ""


def given(key: str, value: object) -> list[str]:
    """A setting as `--set` takes it; none where there is no value."""
    return [] if value is None else [f"{key}={value}"]


def built(form: Description) -> Experiment:
    """The experiment of a checked form, an error naming its key."""
    from dcm.running.experiment import Experiment

    build_parts(form)  # for its errors, which name the key
    # What a file asks for was refused before; what is left is this command line's wish.
    return Experiment.build(form, trust_remote_code=True)


def _short_names(experiment: Experiment) -> tuple[str, str]:
    form = experiment.describe()
    return form["generator"]["name"], form["dataset"]["name"]


def _new_folder(name: str) -> Path:
    folder = Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    candidates = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return folder if not folder.exists() else next(each for each in candidates if not each.exists())
