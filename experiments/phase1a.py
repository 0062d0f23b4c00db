"""Does joint question-answer optimisation work on this model and data, and does it mean anything?

The whole protocol (docs/protocol.md) in one command:

    python experiments/phase1a.py
    python experiments/phase1a.py --generator nano --dataset squad \\
        --set dataset.path=../shared/data/squad_v2/dev-v2.0.json --limit 100 --out runs/phase1a

Stages: 0 infrastructure and baselines, 1 one text alone, 2 question and answer together, 3 spot
check, then controls and transfer probes, and 4 ablations if asked for. A failed gate stops with
advice and exit status 3. P/protocol.json has every number, P/report.txt every table, P/report.html
every figure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from dcm.cli.fields import component
from dcm.cli.overrides import TRACKER, build_parts, check, override, split
from dcm.cli.progress import ProgressLine
from dcm.cli.reporting import reporting
from dcm.cli.run import tracker_for
from dcm.engines import engine_of
from dcm.errors import UsageError
from dcm.protocol import STOPPED, Listener, Plan, Protocol, Record, stage_report
from dcm.reporting.report import figures_of, report
from dcm.running.experiment import Experiment

TIERS = ("squad", "triviaqa", "arithmetic", "sudoku", "arc")
KINDS = ("generator", "dataset", "objective", "optimizer", "criterion")
ABLATIONS = (
    "slots=1",
    "slots=4",
    "slots=8",
    "layout=suffix",
    "optimizer.inner.lr=0.01",
    "optimizer.inner.lr=0.1",
    "optimizer.inner.start_scale=0",
    "optimizer.inner.text_scale=4",
)


def options() -> argparse.ArgumentParser:
    """Every option of the plan; the defaults are the plan's."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/phase1a"), metavar="DIR", help="where to")
    add("--resume", action="store_true", help="go on with what is in --out")
    add("--tier", choices=TIERS, help="the data set of a tier; most need --set dataset.path=...")
    for kind in KINDS:
        add(f"--{kind}", metavar="NAME", help="a component, as `dcm list` names them")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="as `dcm run` takes it")
    add("--limit", type=int, metavar="N", help="examples to take; short for --set dataset.limit=N")
    add("--slots", type=int, default=32, metavar="K", help="content vectors per example")
    add("--attempts", type=int, default=5, metavar="N", help="starts per example in stage 2")
    add("--max-steps", type=int, default=500, metavar="N", help="steps of an attempt")
    add("--baseline-draws", type=int, default=3, metavar="N", help="random contents a baseline")
    add("--seed", type=int, default=0, help="of all randomness")
    add("--stages", default="0,1,2,3", help="which of 0,1,2,3,4; 0 is always measured")
    add("--diagnostic-pairs", type=int, default=50, metavar="N", help="examples of stage 1")
    add("--false-draws", type=int, default=3, metavar="N", help="unoptimised contents an example")
    add("--spot-checks", type=int, default=5, metavar="N", help="converged examples to show")
    add("--judge", metavar="MODEL", help="model that judges meaning; none unless named")
    add("--judge-method", choices=("embedding", "nli"), default="embedding", help="how it judges")
    add(
        "--controls",
        default="shuffled,wrong-answer,random-tokens,random-init",
        help="what to compare with; 'none' for nothing",
    )
    add("--control-slots", default="1,2,4", metavar="K,K", help="K of the control runs")
    add("--control-pairs", type=int, default=40, metavar="N", help="examples of a control run")
    add("--control-steps", type=int, default=200, metavar="N", help="steps of a control run")
    add(
        "--ablate",
        action="append",
        metavar="KEY=VALUE",
        help=f"a change to try in stage 4, may be given again; default {', '.join(ABLATIONS)}",
    )
    add("--ablation-pairs", type=int, default=40, metavar="N", help="examples of an ablation")
    add(
        "--decide-by",
        choices=("auto", "seed-rule", "exact"),
        default="auto",
        help="how gates count; auto is seed-rule unless it is vacuous, then exact",
    )
    add("--engine", choices=("local", "ray"), help="where workers solve each run's examples")
    add("--workers", type=int, metavar="N", help="how many; one a GPU unless given")
    add("--force", action="store_true", help="go on past failed gates; the result says so")
    add("--no-track", action="store_true", help="do not track with MLflow")
    add("--json", action="store_true", help="print protocol.json in place of tables")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def experiment(form: dict[str, Any]) -> Experiment:
    """The experiment of a serial form, every missing field named."""
    check(form)
    return Experiment(**build_parts(form))


def start_from_noise(form: dict[str, Any], given: Collection[str]) -> None:
    """Let an optimiser that would start from the texts start from noise, unless told otherwise.

    Behind a start made of the texts the plan would ask whether they can be kept, not whether they
    can be found.
    """
    key = f"{stepping(form)}.text_scale"
    if key not in given:
        # An optimiser without the field starts as it does.
        with suppress(UsageError):
            override(form, [(key, "0")])


def stepping(form: dict[str, Any]) -> str:
    """The key of the optimiser that takes the steps."""
    return "optimizer.inner" if form["optimizer"]["name"] == "restarts" else "optimizer"


def ablated(form: dict[str, Any], asked: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The forms of stage 4 by their change: those asked for, else the plan's that `form` takes."""
    found = {}
    for change in asked or [each.replace("optimizer.inner", stepping(form)) for each in ABLATIONS]:
        changed = deepcopy(form)
        try:
            override(changed, [split(change)])
        except UsageError:
            if asked:
                raise
            continue
        found[change] = changed
    return found


def plan(asked: argparse.Namespace, tracked: Callable[[Any], None] = lambda _form: None) -> Plan:
    """What the options ask for; `tracked` gets the serial form of the tracker, or None."""
    chosen = {kind: getattr(asked, kind) for kind in KINDS}
    chosen["dataset"] = chosen["dataset"] or asked.tier
    form: dict[str, Any] = {kind: component(kind, name) for kind, name in chosen.items() if name}
    form.setdefault("dataset", component("dataset", "samples"))
    form.setdefault("optimizer", component("optimizer", "restarts"))
    form |= {
        "slots": asked.slots,
        "max_steps": asked.max_steps,
        "baseline_draws": asked.baseline_draws,
        "seed": asked.seed,
    }
    if asked.judge:
        judge = {"model": asked.judge, "method": asked.judge_method}
        form["evaluators"] = [
            component("evaluator", "greedy-decode"),
            {**component("evaluator", "semantic"), "params": judge},
        ]
    settings = [split(each) for each in asked.set]
    if asked.limit is not None:
        settings.append(("dataset.limit", str(asked.limit)))
    override(form, settings)
    tracked(form.pop(TRACKER, None))
    given = {key for key, _ in settings}
    if form["optimizer"]["name"] == "restarts" and "optimizer.count" not in given:
        override(form, [("optimizer.count", str(asked.attempts))])
    start_from_noise(form, given)
    ablations = ablated(form, asked.ablate)
    stages = _numbers("--stages", asked.stages)
    return Plan(
        experiment=experiment(form),
        stages=stages,
        diagnostic_pairs=asked.diagnostic_pairs,
        false_draws=asked.false_draws,
        spot_checks=asked.spot_checks,
        controls=() if asked.controls == "none" else tuple(asked.controls.split(",")),
        control_slots=_numbers("--control-slots", asked.control_slots),
        control_pairs=asked.control_pairs,
        control_steps=asked.control_steps,
        ablations={key: experiment(each) for key, each in ablations.items()} if 4 in stages else {},
        ablation_pairs=asked.ablation_pairs,
        decide_by=asked.decide_by,
        force=asked.force,
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text} was given", "", "Give numbers such as 0,1,2") from None


class Shown:
    """What is seen while it runs: a progress line for each run, and the tables of each stage."""

    def __init__(self, is_json: bool) -> None:
        self._console = Console(highlight=False)
        self._is_json = is_json
        self._line: ProgressLine | None = None
        self.listener = Listener(
            on_run=self._on_run,
            on_progress=lambda progress: self._line(progress) if self._line else None,
            on_stage=self._on_stage,
            warn=lambda line: print(f"Warning: {line}", file=sys.stderr),
        )

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *error: object) -> None:
        if self._line:
            self._line.__exit__(None, None, None)
            self._line = None

    def _on_run(self, name: str) -> None:
        self.__exit__()
        self._line = ProgressLine().__enter__()
        self._line.load(name)

    def _on_stage(self, name: str, record: Record) -> None:
        self.__exit__()
        if not self._is_json:
            self._console.print(stage_report(name, record))


def drawn(folder: Path) -> list[Path]:
    """The page on a protocol, and the folder of its figures."""
    page = report(folder)
    return [page, figures_of(page)]


def main(arguments: list[str] | None = None) -> int:
    """Run the protocol; the exit status."""
    asked = options().parse_args(arguments)
    trackers: list[Any] = []
    planned = plan(asked, trackers.append)
    with Shown(asked.json) as shown:
        tracker = tracker_for(trackers[0], not asked.no_track, shown.listener.warn)
        record = Protocol(
            planned,
            asked.out,
            resume=asked.resume,
            listener=shown.listener,
            engine=engine_of(asked.engine, asked.workers) if asked.engine else None,
            tracker=tracker,
            draw=drawn,
        ).run()
    if asked.json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print(
            f"Every number is in {asked.out}/protocol.json, the tables in report.txt, the figures "
            "in report.html."
        )
        if tracker and (hint := tracker.hint()):
            print(f"To look further: {hint}")
    return STOPPED if record["stopped"] else 0


if __name__ == "__main__":
    try:
        with reporting("--debug" in sys.argv):
            sys.exit(main())
    except typer.Exit as end:
        sys.exit(end.exit_code)
