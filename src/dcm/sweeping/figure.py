"""The figure of a sweep: the certified rate over the values, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcm.sweeping.cells import shown
from dcm.sweeping.rows import DONE

Row = Mapping[str, Any]

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"


def draw(rows: Sequence[Row], axes: Sequence[str], path: Path) -> None:
    """Draw the finished cells of a sweep: certified rate with its interval, steps and seconds.

    Args:
        rows: as `Sweep.run` gives them.
        axes: the keys that vary. The numeric one with most values goes along the figure, a
            combination of the others is a line.
        path: of a new PNG or SVG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    done = [each for each in rows if each["state"] == DONE]
    along = _along(done, axes)
    others = [key for key in axes if key != along]
    lines: dict[str, list[Row]] = {}
    for each in done:
        label = ", ".join(f"{_short(key)} {shown(each[key])}" for key in others)
        lines.setdefault(label, []).append(each)
    numeric = all(_is_number(each[along]) for each in done)
    ticks: list[Any] = list(
        dict.fromkeys(each[along] if numeric else shown(each[along]) for each in done)
    )
    places = {_key(each): each if numeric else number for number, each in enumerate(ticks)}

    figure = Figure(figsize=(9, 3), layout="constrained", dpi=120)
    panels = figure.subplots(1, 3)
    for number, (label, own) in enumerate(lines.items()):
        style = {
            "color": _COLOURS[number % len(_COLOURS)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "linestyle": "-" if numeric else "none",
            "linewidth": 1.5,
            "markersize": 4.5,
        }
        x = [places[_key(each[along] if numeric else shown(each[along]))] for each in own]
        rate = [100 * (each["certified_rate"] or 0.0) for each in own]
        low = [
            at - 100 * (each["certified_low"] or 0.0) for at, each in zip(rate, own, strict=True)
        ]
        high = [
            100 * (each["certified_high"] or 0.0) - at for at, each in zip(rate, own, strict=True)
        ]
        panels[0].errorbar(x, rate, yerr=[low, high], capsize=2.5, label=label, **style)
        for panel, key in zip(panels[1:], ("median_steps", "seconds_per_pair"), strict=True):
            known = [
                (at, each[key]) for at, each in zip(x, own, strict=True) if each[key] is not None
            ]
            panel.plot([at for at, _ in known], [value for _, value in known], **style)
    titles = (
        "certified, % of pairs (95 % interval)",
        "steps to converge, median",
        "seconds a pair",
    )
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize=9, loc="left")
        panel.set_xlabel(_words(along), fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        if numeric and min(ticks) > 0 and max(ticks) >= 8 * min(ticks):
            panel.set_xscale("log", base=2)
        panel.set_xticks(
            [places[_key(each)] for each in ticks],
            [shown(each) if numeric else each for each in ticks],
            **({} if numeric else {"rotation": 30, "ha": "right"}),
        )
        panel.minorticks_off()
    panels[0].set_ylim(-3, 103)
    for panel in panels[1:]:
        panel.set_ylim(bottom=0)
    if others:
        panels[0].legend(fontsize=7, loc="lower right")
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    figure.savefig(temporary)
    temporary.replace(path)


def _along(rows: Sequence[Row], axes: Sequence[str]) -> str:
    def rank(key: str) -> tuple[bool, int]:
        numeric = all(_is_number(each[key]) for each in rows)
        return numeric, len({shown(each[key]) for each in rows})

    return max(axes, key=rank)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> str:
    return repr(float(value)) if _is_number(value) else str(value)


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _words(key: str) -> str:
    return "K, content vectors per example" if key == "slots" else key
