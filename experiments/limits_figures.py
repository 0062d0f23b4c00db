"""Draw the figures of the experiments on what real models hold, from their JSON.

    python experiments/limits_figures.py --results runs --out docs/assets

Needs matplotlib, which the experiments themselves do not. A figure whose JSON is missing is left
out: capacity, capacity_settings, known, harm, decodability, embedding_space, loss_landscape.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib import style

Record = dict[str, Any]
# Okabe and Ito's colours, which the colour-blind tell apart.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, PINK, GREY)
PUBLISHED = (38.5, 14.1)  # tokens in one vector of SmolLM2-135M, mean and standard deviation


def panels(count: int, height: float = 2.9) -> tuple[Any, list[Any]]:
    """A figure of panels side by side."""
    figure, axes = plt.subplots(1, count, figsize=(3.6 * count, height), layout="constrained")
    return figure, [axes] if count == 1 else list(axes)


def capacity(found: Record) -> Any:
    """K against the certified length, and steps against it."""
    figure, (left, right) = panels(2)
    lines: dict[tuple[str, str], list[Record]] = {}
    for cell in found["cells"]:
        lines.setdefault((cell["set"], cell["first"]), []).append(cell)
    names = {"books": "passages of books", "random": "random words"}
    for colour, ((name, first), cells) in zip(COLOURS, lines.items(), strict=False):
        label = names[name] + ("" if first == "predicted" else ", first token given")
        slots = [cell["slots"] for cell in cells]
        held = [cell["tokens"] for cell in cells]
        left.plot(slots, [each["median"] for each in held], "o-", color=colour, label=label)
        low, high = zip(*(each["quartiles"] for each in held), strict=True)
        left.fill_between(slots, low, high, color=colour, alpha=0.2, lw=0)
        for cell in cells[:1]:
            dots = [(t["tokens"], t["steps"]) for t in cell["texts"] if t["steps"]]
            right.plot(*zip(*dots, strict=True), "o", ms=4, color=colour, alpha=0.7,
                       label=f"{label}, K = {cell['slots']}")  # fmt: skip
    mean, spread = PUBLISHED
    left.errorbar([1], [mean], [spread], fmt="s", color="black", capsize=3, label="published")
    left.set(xscale="log", yscale="log", xlabel="K, content vectors", ylabel="certified tokens")
    ticks = sorted({cell["slots"] for cell in found["cells"]})
    left.set_xticks(ticks, [f"{tick}" for tick in ticks])
    left.minorticks_off()
    yticks = [each for each in (20, 50, 100, 200, 500, 1000, 2000) if _within(each, found)]
    left.set_yticks(yticks, [f"{tick}" for tick in yticks])
    left.legend(fontsize=7)
    right.set(xlabel="certified tokens", ylabel="steps of the longest prefix")
    right.legend(fontsize=7)
    return figure


def _within(tick: int, found: Record) -> bool:
    held = [cell["tokens"]["median"] for cell in found["cells"]]
    return min([*held, PUBLISHED[0]]) / 1.8 < tick < 1.8 * max(held)


def capacity_settings(found: Record) -> Any:
    """The share of texts that is certified, and the steps, by their length."""
    figure, (left, right) = panels(2)
    for colour, each in zip(COLOURS, found["settings"], strict=False):
        lengths = [int(length) for length in each["lengths"]]
        counts = list(each["lengths"].values())
        shares = [100 * one["certified"] / one["count"] for one in counts]
        left.plot(lengths, shares, "o-", color=colour, label=each["setting"])
        right.plot(lengths, [one["median_steps"] for one in counts], "o-", color=colour)
    left.axvline(PUBLISHED[0], color="black", ls=":", lw=1)
    left.set(xlabel="tokens in one vector", ylabel="certified, %", ylim=(0, 103), xlim=(0, None))
    left.legend(fontsize=7, loc="lower left")
    right.set(xlabel="tokens in one vector", ylabel="steps of those, median", ylim=(0, None))
    return figure


def known(found: Record) -> Any:
    """Differences in steps in per cent of what known pairs take, with what would matter."""
    figure, axes = panels(2, 3.0)
    single = len({each["slots"] for each in found["comparisons"]}) == 1
    for axis, other in zip(axes, ("unknown", "shuffled"), strict=True):
        rows = [
            each
            for each in found["comparisons"]
            if each["other"] == other and each["steps"]["count"] >= 10 and each["known_steps"]
            and (each["slots"] is None or each["source"] == "all" or single)
        ]  # fmt: skip
        for place, each in enumerate(rows):
            value, low, high = (100 * each["steps"][key] / each["known_steps"]
                                for key in ("value", "low", "high"))  # fmt: skip
            axis.plot([low, high], [place, place], color=BLUE)
            axis.plot([value], [place], "o", color=BLUE)
        axis.axvspan(-10, 10, color=GREY, alpha=0.15, lw=0)
        axis.axvline(0, color="black", lw=0.8)
        labels = [
            f"{each['source']}, K = {each['slots'] or 'all'} ({each['steps']['count']})"
            for each in rows
        ]
        axis.set_yticks(range(len(rows)), labels, fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel(f"more steps of {other} pairs, %")
    return figure


def harm(found: Record) -> Any:
    """What other text loses, and questions, behind contents and what stands beside them."""
    figure, (left, right) = panels(2)
    shown = [
        (f"K = {cell['slots']}" + (", guarded" if cell["weight"] else ""), cell["arms"])
        for cell in sorted(found["cells"], key=lambda each: (each["slots"], each["weight"]))
        if cell.get("arms")
    ]
    arms = ("content", "permuted", "noise", "text")
    for colour, arm in zip(COLOURS, arms, strict=False):
        for place, (_, cell) in enumerate(shown):
            if arm not in cell:
                continue
            shift = place + 0.15 * (arms.index(arm) - 1.5)
            label = arm if place == 0 else None
            _bar(left, shift, cell[arm]["more"], colour, 1, label)
            changes = [each["change"] for each in cell[arm]["accuracy"].values()]
            _bar(right, shift, changes[-1], colour, 100, label)
    for axis in (left, right):
        axis.axhline(0, color="black", lw=0.8)
        axis.set_xticks(range(len(shown)), [name for name, _ in shown], rotation=30, ha="right")
    left.set_ylabel("nats a token more on other text")
    name = list(shown[0][1]["content"]["accuracy"])[-1]
    right.set_ylabel(f"{name}: points of accuracy more")
    left.legend(fontsize=7)
    return figure


def _bar(axis: Any, place: float, number: Record, colour: str, factor: float, label: Any) -> None:
    low, value, high = (factor * number[key] for key in ("low", "value", "high"))
    axis.plot([place, place], [low, high], color=colour)
    axis.plot([place], [value], "o", ms=4, color=colour, label=label)


def decodability(found: Record) -> Any:
    """The share of exact contents that decode, against the margin asked for."""
    figure, axes = panels(2)
    ticks = sorted({cell["margin"] for cell in found["cells"]})
    for axis, name in zip(axes, ("pairs", "passages"), strict=True):
        lines: dict[str, list[Record]] = {}
        for cell in found["cells"]:
            if cell["set"] == name and cell["decoded"]:
                label = cell["dtype"] + (", compiled" if cell["compiled"] else "")
                lines.setdefault(label, []).append(cell)
        for colour, (label, cells) in zip(COLOURS, lines.items(), strict=False):
            shares = [next(iter(cell["decoded"].values()))["verbatim"] for cell in cells]
            places = [ticks.index(cell["margin"]) for cell in cells]
            axis.plot(places, [100 * each["value"] for each in shares], "o-", color=colour,
                      label=label)  # fmt: skip
            low, high = ([100 * each[key] for each in shares] for key in ("low", "high"))
            axis.fill_between(places, low, high, color=colour, alpha=0.12, lw=0)
        axis.set_xticks(range(len(ticks)), [f"{margin:g}" for margin in ticks])
        axis.axhline(70, color="black", ls=":", lw=1)
        axis.set(xlabel=f"margin asked for, logits ({name})", ylabel="decoded verbatim, %")
        axis.set_ylim(top=101.5)
        axis.legend(fontsize=7)
    return figure


def embedding_space(found: Record) -> Any:
    """Contents on two principal axes, their lengths, what a slot is worth, and attention."""
    figure, axes = panels(3)
    points = found["picture"]["points"]
    for colour, name in zip(COLOURS, dict.fromkeys(each["set"] for each in points), strict=False):
        own = [each for each in points if each["set"] == name]
        axes[0].plot([e["x"] for e in own], [e["y"] for e in own], "o", ms=3, alpha=0.7,
                     color=colour, label=name)  # fmt: skip
    first, second = (100 * each for each in found["picture"]["explained"][:2])
    axes[0].set(xlabel=f"first axis ({first:.1f} %)", ylabel=f"second axis ({second:.1f} %)")
    axes[0].legend(fontsize=7)
    lost = found["left_out"]["zero"]
    for place, each in enumerate(lost):
        _bar(axes[1], place + 1, each["more"], BLUE, 1, None)
    axes[1].set(xlabel="slot made zero", ylabel="nats lost of both texts", ylim=(0, None))
    for colour, (name, each) in zip(COLOURS, found["attention"].items(), strict=False):
        axes[2].plot(range(1, len(each["content"]) + 1), each["content"], "o-", ms=3, color=colour,
                     label=name)  # fmt: skip
    axes[2].set(xlabel="layer", ylabel="attention to the K places", ylim=(0, None))
    axes[2].legend(fontsize=7)
    return figure


def loss_landscape(found: Record) -> Any:
    """The loss between attempts, along random directions, and on a plane."""
    figure, axes = panels(3)
    line = found["barriers"]
    axes[0].plot(line["shares"], line["loss"], color=BLUE)
    axes[0].fill_between(line["shares"], *line["loss_quartiles"], color=BLUE, alpha=0.2, lw=0)
    axes[0].set(xlabel="from one attempt to another", ylabel="loss, nats", ylim=(0, None))
    radii = found["radii"]
    axes[1].plot(radii["radii"], radii["loss"], "o-", ms=3, color=BLUE, label="loss, nats")
    exact = [100 * each["value"] for each in radii["exact"]]
    twin = axes[1].twinx()
    twin.plot(radii["radii"], exact, "s-", ms=3, color=ORANGE)
    twin.set_ylabel("still exact, %", color=ORANGE)
    twin.grid(visible=False)
    axes[1].set(xscale="log", xlabel="random move, share of the length")
    axes[1].set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    axes[1].minorticks_off()
    axes[1].set_ylabel("loss, nats", color=BLUE)
    plane = found["plane"]
    drawn = axes[2].contourf(plane["x"], plane["y"], plane["loss"], levels=12, cmap="cividis")
    axes[2].plot([0, 1], [0, 0], "o", color="white", mec="black")
    axes[2].set(xlabel="towards another attempt", ylabel="random direction, lengths")
    figure.colorbar(drawn, ax=axes[2], label="loss, nats")
    return figure


FIGURES: dict[str, Callable[[Record], Any]] = {
    "capacity": capacity,
    "capacity_settings": capacity_settings,
    "known": known,
    "harm": harm,
    "decodability": decodability,
    "embedding_space": embedding_space,
    "loss_landscape": loss_landscape,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what there is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--results", type=Path, default=Path("runs"), help="folder of the JSON files")
    add("--out", type=Path, default=Path("docs/assets"), help="default docs/assets")
    add("--also-png", action="store_true", help="beside SVG, to look at")
    asked = parser.parse_args(arguments)
    with style.context("dcm.figures"):
        for name, draw in FIGURES.items():
            file = asked.results / f"{name}.json"
            if not file.exists():
                continue
            figure = draw(json.loads(file.read_text(encoding="utf-8")))
            path = asked.out / f"{name.replace('_', '-')}.svg"
            figure.savefig(path, metadata={"Date": None})
            if asked.also_png:
                figure.savefig(path.with_suffix(".png"), dpi=110)
            plt.close(figure)
            print(path)


if __name__ == "__main__":
    main()
