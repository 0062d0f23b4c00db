"""Panels: what figures of runs are built of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dcm.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 4.2, 2.7
"""Of a figure, in inches; a phone shows it in its full size."""


def one_panel(rows: int) -> tuple[Canvas, Axes]:
    """A figure of one panel; where it has lines of names, as high as they need."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(WIDTH, 1.3 + 0.3 * rows if rows else HEIGHT))
    return canvas, canvas.subplots()


def shares(
    panel: Axes, runs: Sequence[Run], parts: Mapping[str, tuple[Sequence[int], str]]
) -> None:
    """Bars of shares, one a run, each a stack of parts; name -> (counts, colour)."""
    whole = np.sum([counts for counts, _ in parts.values()], axis=0)
    left = np.zeros(len(runs))
    used = {name: each for name, each in parts.items() if any(each[0])}
    for name, (counts, colour) in used.items():
        share = 100 * np.asarray(counts) / np.maximum(whole, 1)
        bars = panel.barh(
            range(len(runs)), share, left=left, height=0.6, color=colour, label=name,
            edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        texts = [str(count) if part >= 8 else "" for count, part in zip(counts, share, strict=True)]
        panel.bar_label(bars, texts, label_type="center", fontsize=8, color="black")
        left += share
    named(panel, [run.name for run in runs])
    panel.set_xlim(0, 100)
    legend(panel, len(used))


def named(panel: Axes, labels: Sequence[str]) -> None:
    """Lines of names, the first on top, without a grid along them."""
    longest = 28
    short = [each if len(each) <= longest else f"...{each[3 - longest :]}" for each in labels]
    panel.set_yticks(range(len(labels)), short)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")


def decades(axis: Axis) -> None:
    """Plain numbers along a logarithmic axis, two or three a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def legend(panel: Axes, count: int) -> None:
    """Names below the panel, where they cover nothing."""
    figure = panel.figure
    columns = 3 if count <= 3 or count > 6 else 2
    figure.legend(loc="outside lower center", ncols=min(columns, count), fontsize=8)
