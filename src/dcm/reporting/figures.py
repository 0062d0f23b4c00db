"""Figures of runs. Each tells of one thing, in one panel that a phone has room for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dcm.protocol.health import Health, total
from dcm.protocol.results import baseline_of, loss_of
from dcm.reporting.panels import decades, legend, named, one_panel, shares
from dcm.reporting.runs import Run, varying
from dcm.sweeping.figure import TITLES, plot
from dcm.sweeping.rows import row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST_RUNS = 12
"""Runs that a figure shows; more cannot be told apart."""

POINTS = 100
"""Steps at which curves are read."""

_LINES = ("-", "--", ":")
_HEALTHS = {
    Health.MONOTONIC: "C2",
    Health.PLATEAU: "C5",
    Health.OSCILLATING: "C4",
    Health.FLAT: "C3",
    Health.DIVERGED: "C1",
    Health.TOO_SHORT: "C6",
}
_KINDS = {
    "random": "random contents",
    "single_token": "a random token",
    "full_context": "as plain text",
}

Curves = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Sequence[str]]
"""Steps [S], losses [rows, S] in nats, and the rows' ids."""


@attrs.frozen(eq=False)
class Figure:
    """A figure with the words beside it.

    Attributes:
        name: of its files.
        canvas: matplotlib's figure.
        caption: what it shows, in a sentence or two.
    """

    name: str
    canvas: Canvas
    caption: str


def figures(runs: Sequence[Run]) -> Iterator[Figure]:
    """All figures that runs have material for, in the style that is in force.

    Args:
        runs: of which figures show the first `MOST_RUNS`.
    """
    shown = [run for run in runs if run.finished][:MOST_RUNS]
    capped = f" The first {MOST_RUNS} runs." if len(runs) > MOST_RUNS else ""
    drawings: dict[str, Callable[[Axes, Sequence[Run]], str]] = {
        "curves": _curves,
        "steps": _steps,
        "losses": _losses,
        "health": _health,
        "attempts": _attempts,
        "interference": _interference,
        "speed": _speed,
    }
    yield from _sweep(runs)
    for name, draw in drawings.items():
        tall = name in ("curves", "steps")
        lines = sum(len(run.modes) for run in shown) if name == "losses" else len(shown)
        canvas, panel = one_panel(0 if tall else lines)
        caption = draw(panel, shown) if shown else ""
        if caption:
            yield Figure(name, canvas, caption + capped)


def _sweep(runs: Sequence[Run]) -> Iterator[Figure]:
    """Rate, steps and seconds over the keys that vary, where at least one is a number."""
    done = [run for run in runs if run.done and run.finished]
    keys = varying(done)
    numbers = [key for key in keys if all(_is_number(run.settings.get(key)) for run in done)]
    if len(done) < 2 or not numbers or len(keys) > 3:
        return
    rows = [row(run.path, {key: run.settings.get(key) for key in keys}) for run in done]
    rows.sort(key=lambda each: [each[key] for key in numbers])
    captions = {
        "certified_rate": "Bars are Wilson's 95 % intervals.",
        "median_steps": "The median of the examples that converged.",
        "seconds_per_pair": "Wall time of the run by its examples, loading included.",
    }
    for key in TITLES:
        canvas, panel = one_panel(0)
        plot(panel, rows, keys, key)
        if len(keys) > 1:
            legend(panel, len(panel.get_legend_handles_labels()[1]))
        yield Figure(f"sweep-{key.replace('_', '-')}", canvas, captions[key])


def _curves(panel: Axes, runs: Sequence[Run]) -> str:
    known = [run for run in runs if run.curves]
    if not known:
        return ""
    if len(known) == 1:
        modes = dict.fromkeys(
            mode for curve in known[0].curves.values() for _, at in curve for mode in at
        )
        lines = [(mode, _read(known[0], partial(_of_mode, mode))) for mode in modes]
    else:
        lines = [(run.name, _read(run, lambda losses: sum(losses.values()))) for run in known]
    lines = [(name, curves) for name, curves in lines if len(curves[2])]
    if not lines:
        return ""
    for number, (name, (steps, losses, _)) in enumerate(lines):
        low, middle, high = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
        look: dict[str, Any] = {"color": f"C{number % 7}"}
        panel.plot(steps, middle, linestyle=_LINES[number // 7], label=name, **look)
        panel.fill_between(steps, low, high, alpha=0.2, linewidth=0, **look)
        worst = losses[np.argmax(losses[:, -1])]
        panel.plot(steps, worst, linestyle=(0, (1, 2)), linewidth=1, **look)
    panel.set_yscale("log")
    panel.set_xlabel("step")
    panel.set_xlim(left=0)
    decades(panel.yaxis)
    panel.set_title("loss, nats" + ("" if len(known) == 1 else " (sum of the texts)"))
    legend(panel, len(lines))
    who = ""
    if len(known) == 1:
        ends = {key: total(curve)[-1][1] for key, curve in known[0].curves.items()}
        highest = max(ends, key=lambda key: ends[key] if math.isfinite(ends[key]) else math.inf)
        who = f" ({highest} ended highest)"
    return (
        "Line: the median of the examples; band: their quartiles; dots: the worst. One that has "
        f"ended counts with its last loss{who}."
    )


def _of_mode(mode: str, losses: Mapping[str, float]) -> float:
    return losses.get(mode, math.nan)


def _read(run: Run, pick: Callable[[Mapping[str, float]], float]) -> Curves:
    """A run's curves at common steps; a row that has ended keeps its last loss."""
    own: dict[str, list[tuple[int, float]]] = {}
    for key, curve in run.curves.items():
        points = [(step, pick(losses)) for step, losses in curve]
        known = [(step, loss) for step, loss in points if math.isfinite(loss)]
        if known:
            own[key] = known
    seen = sorted({step for points in own.values() for step, _ in points})
    chosen = np.unique(np.linspace(0, len(seen) - 1, min(POINTS, len(seen))).astype(int))
    steps = np.asarray(seen)[chosen]
    losses = np.empty((len(own), len(steps)))
    for number, points in enumerate(own.values()):
        at, values = zip(*points, strict=True)
        places = np.searchsorted(at, steps, side="right") - 1
        losses[number] = np.asarray(values)[np.maximum(places, 0)]
    return steps, np.maximum(losses, 1e-6), list(own)


def _steps(panel: Axes, runs: Sequence[Run]) -> str:
    if not any(run.steps for run in runs):
        return ""
    most = max(max(run.steps, default=1) for run in runs)
    for number, run in enumerate(runs):
        steps = sorted(run.steps)
        share = [100 * (place + 1) / run.finished for place in range(len(steps))]
        x, y = [0, *steps, most], [0, *share, share[-1] if share else 0]
        panel.step(
            x,
            y,
            where="post",
            label=run.name,
            color=f"C{number % 7}",
            linestyle=_LINES[number // 7],
        )
    panel.set_ylim(0, 103)
    panel.set_xlim(left=0)
    panel.set_xlabel("steps of the kept attempt")
    panel.set_title("converged within, % of examples")
    if len(runs) > 1:
        legend(panel, len(runs))
        return "How many steps examples need: the share that has converged by then."
    middle = median(runs[0].steps)
    panel.axvline(middle, color="C6", linewidth=1, linestyle="--")
    return f"How many steps examples need; half of the converged need at most {middle:g} (dashes)."


def _losses(panel: Axes, runs: Sequence[Run]) -> str:
    modes = list(dict.fromkeys(mode for run in runs for mode in run.modes))
    lines = [(run, mode) for run in runs for mode in modes if mode in run.modes][: 2 * MOST_RUNS]
    labels = [mode if len(runs) == 1 else f"{run.name}, {mode}" for run, mode in lines]
    seen = set()
    for number, (kind, name) in enumerate({**_KINDS, "": "after optimisation"}.items()):
        values = [
            _mean(
                loss_of(each, mode) if not kind else baseline_of(each, kind, mode)
                for each in run.results
            )
            for run, mode in lines
        ]
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        if known:
            seen.add(name)
            places, numbers = zip(*known, strict=True)
            panel.plot(
                numbers, places, "sD^o"[number], color=f"C{(1, 4, 3, 0)[number]}", label=name
            )
    if not seen:
        return ""
    named(panel, labels)
    panel.set_xscale("log")
    decades(panel.xaxis)
    panel.set_xlabel("nats a token, mean of the examples")
    panel.set_title("loss before and after")
    legend(panel, len(seen))
    return (
        "Circles: after optimisation. The others were measured before it, behind contents and "
        "tokens drawn at random, and as plain text (the answer follows its question)."
    )


def _health(panel: Axes, runs: Sequence[Run]) -> str:
    known = [run for run in runs if run.health]
    counts = [Counter(run.health.values()) for run in known]
    parts = {
        health.value: ([count[health] for count in counts], colour)
        for health, colour in _HEALTHS.items()
    }
    if not known:
        return ""
    shares(panel, known, parts)
    panel.set_title("loss curves by their shape, % of rows")
    return "Shapes as the protocol defines them: failed and oscillating curves are warnings."


def _attempts(panel: Axes, runs: Sequence[Run]) -> str:
    counts = [Counter(min(each["attempts"], 6) for each in run.results) for run in runs]
    if max(max(count) for count in counts) < 2:
        return ""
    numbers = sorted({number for count in counts for number in count})
    parts = {
        ("6 or more" if number == 6 else str(number)): (
            [count[number] for count in counts],
            f"C{(0, 5, 2, 4, 3, 1, 6)[place % 7]}",
        )
        for place, number in enumerate(numbers)
    }
    shares(panel, runs, parts)
    panel.set_title("attempts made, % of examples")
    return "Attempts that examples took: each is a start from a new random content."


def _interference(panel: Axes, runs: Sequence[Run]) -> str:
    measured = {
        run.name: [
            each["interference"]["cosine"] for each in run.results if each.get("interference")
        ]
        for run in runs
    }
    known = {name: values for name, values in measured.items() if values}
    if not known:
        return ""
    panel.boxplot(
        list(known.values()),
        orientation="horizontal",
        positions=range(len(known)),
        widths=0.6,
    )
    named(panel, list(known))
    panel.axvline(0, color="C6", linewidth=1, linestyle="--")
    panel.set_xlabel("cosine between the modes' gradients")
    panel.set_title("interference: left of 0 the texts pull apart")
    return (
        "Each example counts with the mean of its steps. Box: quartiles; whiskers: at most 1.5 "
        "boxes; circles: beyond."
    )


def _speed(panel: Axes, runs: Sequence[Run]) -> str:
    known = [run for run in runs if run.summary.get("wall_seconds")]
    if len(known) < 2:
        return ""
    speeds = [run.finished / run.summary["wall_seconds"] for run in known]
    bars = panel.barh(range(len(known)), speeds, height=0.6)
    panel.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8)
    named(panel, [run.name for run in known])
    panel.margins(x=0.15)
    panel.set_title("examples finished a second")
    return "Examples by the wall time of the whole run, on: " + ", ".join(
        dict.fromkeys(f"{run.summary.get('device')}, {run.summary.get('dtype')}" for run in known)
    ) + "."  # fmt: skip


def _mean(values: Any) -> float | None:
    known = [each for each in values if math.isfinite(each)]
    return fmean(known) if known else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
