"""The figure of a sweep: the certified rate over the values, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm.sweeping.cells import shown
from dcm.sweeping.rows import DONE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]

_MARKERS = "osD^vPX"

STYLE = "dcm.figures"
"""The style of every figure, for `matplotlib.style.context`."""

TITLES = {
    "certified_rate": "certified, % of pairs (95 % interval)",
    "median_steps": "steps to converge, median",
    "seconds_per_pair": "seconds a pair",
}


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
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(STYLE):
        figure = Figure(figsize=(9, 3))
        panels = figure.subplots(1, len(TITLES))
        for panel, key in zip(panels, TITLES, strict=True):
            plot(panel, rows, axes, key)
        if len(axes) > 1:
            panels[0].legend(fontsize=7, loc="lower right")
        temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
        figure.savefig(temporary)
    temporary.replace(path)


def plot(panel: Axes, rows: Sequence[Row], axes: Sequence[str], key: str) -> None:
    """Draw one number of the finished cells over the values, as `draw` does.

    Args:
        panel: where to.
        rows: of cells, as `dcm.sweeping.rows.row` gives them.
        axes: the keys that vary.
        key: one of `TITLES`.
    """
    done = [each for each in rows if each["state"] == DONE]
    along = _along(done, axes)
    others = [each for each in axes if each != along]
    lines: dict[str, list[Row]] = {}
    for each in done:
        label = ", ".join(f"{_short(other)} {shown(each[other])}" for other in others)
        lines.setdefault(label, []).append(each)
    numeric = all(_is_number(each[along]) for each in done)
    ticks: list[Any] = list(
        dict.fromkeys(each[along] if numeric else shown(each[along]) for each in done)
    )
    places = {_key(each): each if numeric else number for number, each in enumerate(ticks)}
    for number, (label, own) in enumerate(lines.items()):
        known = [each for each in own if each[key] is not None]
        x = [places[_key(each[along] if numeric else shown(each[along]))] for each in known]
        look: dict[str, Any] = {
            "color": f"C{number % 7}",
            "marker": _MARKERS[number % len(_MARKERS)],
            "linestyle": "-" if numeric else "none",
            "label": label,
        }
        if key != "certified_rate":
            panel.plot(x, [each[key] for each in known], **look)
            continue
        rate = [100 * each[key] for each in known]
        ends = [(100 * each["certified_low"], 100 * each["certified_high"]) for each in known]
        low = [at - end[0] for at, end in zip(rate, ends, strict=True)]
        high = [end[1] - at for at, end in zip(rate, ends, strict=True)]
        panel.errorbar(x, rate, yerr=[low, high], capsize=2.5, **look)
    panel.set_title(TITLES[key])
    panel.set_xlabel(_words(along))
    if numeric and min(ticks) > 0 and max(ticks) >= 8 * min(ticks):
        panel.set_xscale("log", base=2)
    if numeric:
        panel.set_xticks([places[_key(each)] for each in ticks], [shown(each) for each in ticks])
    else:
        panel.set_xticks([places[each] for each in ticks], ticks, rotation=30, ha="right")
    panel.minorticks_off()
    if key == "certified_rate":
        panel.set_ylim(-3, 103)
    else:
        panel.set_ylim(bottom=0)


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
