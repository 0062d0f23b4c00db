"""Figures of a protocol: what its controls and its probes came to, beside its runs' own figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dcm.reporting.figures import Figure
from dcm.reporting.panels import decades, legend, named, one_panel


def protocol_figures(record: Mapping[str, Any]) -> Iterator[Figure]:
    """The figures that a protocol has material for, in the style that is in force.

    Args:
        record: what protocol.json holds.
    """
    for draw in (_controls, _transfer):
        figure = draw(record)
        if figure is not None:
            yield figure


def _controls(record: Mapping[str, Any]) -> Figure | None:
    """Exact shares of true pairs and of controls over K, of a protocol that ran controls."""
    found = record["stages"].get("controls", {}).get("runs", [])
    lines: dict[str, list[Any]] = {}
    for each in found:
        if each["exact_rate"]["value"] is not None:
            lines.setdefault(each["name"], []).append(each)
    if not lines:
        return None
    canvas, panel = one_panel(0)
    slots = sorted({each["slots"] for each in found})
    width = 0.8 / len(lines)
    for number, (name, own) in enumerate(lines.items()):
        rates = [each["exact_rate"] for each in own]
        x = [slots.index(each["slots"]) + (number - (len(lines) - 1) / 2) * width for each in own]
        value = [100 * rate["value"] for rate in rates]
        low = [at - 100 * rate["low"] for at, rate in zip(value, rates, strict=True)]
        high = [100 * rate["high"] - at for at, rate in zip(value, rates, strict=True)]
        panel.errorbar(
            x, value, yerr=[low, high], fmt="osD^vPX"[number % 7], capsize=2.5, label=name
        )
    panel.set_xticks(range(len(slots)), [str(each) for each in slots])
    panel.set_ylim(-3, 103)
    panel.set_xlabel("K, content vectors per example")
    panel.set_title("exact, % of pairs: true ones and controls")
    legend(panel, len(lines))
    steps = record["stages"]["controls"]["max_steps"]
    caption = f"Within {steps} steps and one attempt; bars are 95 % intervals."
    return Figure("controls", canvas, caption)


def _transfer(record: Mapping[str, Any]) -> Figure | None:
    """Losses of one text behind contents of the other, of a protocol that ran probes."""
    probes = record["stages"].get("transfer", {}).get("probes", [])
    known = [each for each in probes if each["loss"]["value"] is not None]
    if not known:
        return None
    canvas, panel = one_panel(len(known))
    kinds = {
        "random contents": [each["random"]["value"] for each in known],
        "another example's content": [
            each["loss"]["value"] + each["below_other"]["value"] for each in known
        ],
        "as plain text": [each["full_context"]["value"] for each in known],
        "the example's own content": [each["loss"]["value"] for each in known],
    }
    for number, (name, values) in enumerate(kinds.items()):
        points = [(value, place) for place, value in enumerate(values) if value is not None]
        if points:
            losses, places = zip(*points, strict=True)
            colour = f"C{(1, 4, 3, 0)[number]}"
            panel.plot(losses, places, "sD^o"[number], color=colour, label=name)
    named(panel, [f"{each['probed']}, {each['optimised']}'s content" for each in known])
    panel.set_xscale("log")
    decades(panel.xaxis)
    panel.set_xlabel("nats a token, mean of the examples")
    panel.set_title("loss of the other text")
    legend(panel, len(kinds))
    caption = (
        "One text behind contents that were optimised for the other alone. A content carries "
        "something of it where its circle stands left of another example's diamond."
    )
    return Figure("transfer", canvas, caption)
