"""Tables of what protocol.json holds, in 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dcm.protocol.health import sparkline

Number = Mapping[str, Any]
"""An estimate as JSON: value, low, high, count."""

WIDTH = 80
_LONGEST = 60  # characters shown of a decoded text
_MOST_FAILED = 10  # failed examples shown; all of them are in protocol.json


def stage_report(name: str, record: Mapping[str, Any]) -> Group:
    """The tables of one stage, with its gates.

    Args:
        name: of the stage, as in `record["stages"]`.
        record: what protocol.json holds.
    """
    tables: dict[str, Callable[[Mapping[str, Any]], Iterator[RenderableType]]] = {
        "0": _infrastructure,
        "1": _single,
        "2": _joint,
        "3": _spot_check,
        "transfer": _transfer,
        "controls": _controls,
        "4": _ablations,
    }
    parts = list(tables[name](record["stages"][name]))
    gates = [gate for gate in record["gates"] if gate["stage"] == name]
    if gates:
        parts.append(_gates(gates))
    parts += [
        Text(f"{gate['name']}: {gate['advice']}.", style="yellow")
        for gate in gates
        if gate["advice"]
    ]
    stopped = record["stopped"]
    if stopped and stopped["stage"] == name:
        parts.append(
            Text(f"Stopped after stage {name}. To go on all the same: --force", "bold red")
        )
    if any(each["stage"] == name for each in record["forced"]):
        parts.append(Text("Forced past a failed gate: the result says so.", "bold red"))
    return Group(*parts, "")


def write_report(record: Mapping[str, Any], path: Path) -> None:
    """All tables as plain text."""
    out = StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False)
    for name in record["stages"]:
        console.print(stage_report(name, record))
    path.write_text(out.getvalue(), encoding="utf-8")


def _infrastructure(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("Stage 0: baselines before optimisation, nats a token", "baseline", "mode")
    for column in ("mean", "95 % interval", "n", "spread of draws"):
        table.add_column(column, justify="right")
    for each in stage["baselines"]:
        spread = "" if each["spread"] is None else f"{each['spread']:.2f}"
        kind = each["kind"].replace("_", " ")
        mean = each["mean"]
        table.add_row(kind, each["mode"], plain(mean), interval(mean), str(mean["count"]), spread)
    yield table
    found = stage["false_convergence"]
    by_mode = ", ".join(f"{mode} {percent(each)}" for mode, each in found["by_mode"].items())
    yield Text(
        f"seed-rule calls {percent(found)} {interval(found, 100, 0)} of {found['count']} x "
        f"{found['draws']} random contents converged ({by_mode}). "
        f"Gates count by {stage['decides']}."
    )


def _single(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _numbers("Stage 1: one text alone", "text")
    for mode, found in stage.items():
        _add_run(table, mode, found)
    yield table


def _joint(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _numbers("Stage 2: question and answer from one content", "texts")
    _add_run(table, "both", stage)
    yield table
    yield Text(f"{stage['finished']} examples finished: {_counts(stage['status_counts'])}.")
    table = _table("Thresholds of the data set: minimum, good, excellent", "number")
    for column in ("measured", "95 % interval", "n", "steps", "grade"):
        table.add_column(column, justify="right")
    for each in stage["thresholds"]:
        sign = ">" if each["better"] == "above" else "<"
        steps = ", ".join(f"{step:g}" for step in each["steps"])
        number = each["measured"]
        table.add_row(
            each["name"], plain(number), interval(number), str(number["count"]), f"{sign} {steps}",
            each["grade"],
        )  # fmt: skip
    yield table
    yield from _health(stage)
    table = _table("Signals", "signal")
    for column in ("measured", "95 % interval", "n", "fires", ""):
        table.add_column(column, justify="right")
    for each in stage["signals"]:
        number, fires = each["measured"], f"{each['relation']} {each['threshold']:g}"
        fired = "FIRED" if each["fired"] else ""
        table.add_row(
            each["name"], plain(number), interval(number), str(number["count"]), fires, fired
        )
    yield table
    for each in stage["signals"]:
        if each["fired"]:
            yield Text(f"{each['name']}: {each['advice']}.", style="yellow")


def _health(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("Loss curves", "health")
    table.add_column("rows", justify="right")
    table.add_column("an example: sum of losses over the steps", no_wrap=True)
    for name, count in stage["health"].items():
        if count or name != "too-short":
            points = stage["health_curves"].get(name, {}).get("points", [])
            known = [(step, loss) for step, loss in points if loss is not None]
            ends = f" {known[0][1]:.1f} to {known[-1][1]:.2f}" if known else ""
            table.add_row(name, str(count), sparkline(known, 30) + ends)
    yield table


def _spot_check(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    passed = stage["pass_among_converged"]
    yield Text(
        f"Stage 3: greedy decodes, converged by {stage['decides']}. "
        f"Converged: {_counts(stage['converged'])}; failed: {_counts(stage['failed'])}. "
        f"pass among the converged {percent(passed)} {interval(passed, 100, 0)}, "
        f"n = {passed['count']}.",
        style="bold",
    )
    if stage["degenerate"]:
        yield Text("Degenerate: high convergence with a low pass rate.", style="bold red")
    texts = stage["by_text"]
    if texts:
        table = _table("Decoded texts", "text")
        names = list(next(iter(texts.values())))
        for name in names:
            table.add_column(name, justify="right")
        for mode, numbers in texts.items():
            cells = [
                f"{percent(numbers[name], 0)} {interval(numbers[name], 100, 0)}" for name in names
            ]
            table.add_row(mode, *cells)
        yield table
    table = _table("Some of them, question above answer", "grade")
    table.add_column("expected")
    table.add_column("decoded")
    failed = 0
    for each in stage["shown"]:
        is_failed = each["status"] != "CONVERGED"
        failed += is_failed
        if is_failed and failed > _MOST_FAILED:
            continue
        expected = "\n".join(_short(each[mode]) for mode in ("question", "answer"))
        decoded = "\n".join(_short(text) for text in each["decoded"].values())
        table.add_row(each["grade"], escape(expected), escape(decoded))
    yield table
    if failed > _MOST_FAILED:
        yield Text(f"{failed - _MOST_FAILED} failed examples more are in protocol.json.")


def _transfer(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("Transfer: contents of one text alone, measured on the other", "content of")
    for column in ("measured", "loss", "random", "full context", "verbatim", "F1", "n"):
        table.add_column(column, justify="right")
    for each in stage["probes"]:
        numbers = [plain(each[key]) for key in ("loss", "random", "full_context")]
        table.add_row(
            each["optimised"], each["probed"], *numbers, percent(each["verbatim"]),
            percent(each["f1"]), str(each["loss"]["count"]),
        )  # fmt: skip
    yield table
    for each in stage["probes"]:
        random, other = each["below_random"], each["below_other"]
        yield Text(
            f"{each['probed']} behind contents of the {each['optimised']}: gains {plain(random)} "
            f"nats {interval(random)} on random contents and {plain(other)} {interval(other)} on "
            "another example's content."
        )


def _controls(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table(f"Controls: exact within {stage['max_steps']} steps, one attempt", "pairs", "K")
    for column in ("n", "exact", "steps to exact", "nats a slot"):
        table.add_column(column, justify="right")
    for each in stage["runs"]:
        exact, steps, nats = each["exact_rate"], each["steps_to_exact"], each["nats_per_slot"]
        table.add_row(
            each["name"], str(each["slots"]), str(exact["count"]),
            f"{percent(exact, 0)} {interval(exact, 100, 0)}",
            f"{plain(steps, 0)} {interval(steps, 1, 0)} n={steps['count']}",
            f"{significant(nats)} {interval(nats)}",
        )  # fmt: skip
    yield table
    table = _table("Control minus true, paired, mean and 95 % interval", "pairs", "K")
    for column in ("n", "exact, points", "capped steps", "nats a slot"):
        table.add_column(column, justify="right")
    for each in stage["runs"]:
        if "minus_true" in each:
            table.add_row(each["name"], str(each["slots"]), *_difference(each["minus_true"]))
    yield table
    for name, reason in stage["left_out"].items():
        yield Text(f"{name} is left out: {reason}")
    if "sentence" in stage:
        yield Text(stage["sentence"], style="bold")


def _ablations(stage: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table(f"Stage 4: ablations, {stage['max_steps']} steps, one attempt", "change")
    for column in ("n", "exact", "certified", "steps to exact", "steps minus base"):
        table.add_column(column, justify="right")
    for each in stage["runs"]:
        steps = each["steps_to_exact"]
        minus = each.get("minus_base", {}).get("steps")
        table.add_row(
            escape(each["label"]), str(each["exact_rate"]["count"]), percent(each["exact_rate"]),
            percent(each["certified_rate"]), f"{plain(steps, 0)} {interval(steps, 1, 0)}",
            f"{significant(minus)} {interval(minus)}" if minus else "",
        )  # fmt: skip
    yield table


def _gates(gates: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Gates", "gate")
    for column in ("measured", "95 % interval", "n", "needs", "verdict"):
        table.add_column(column, justify="right")
    styles = {"passed": "green", "missed": "yellow", "failed": "bold red"}
    for gate in gates:
        number = gate["measured"]
        name = gate["name"] + (f" ({gate['counted_by']})" if gate["counted_by"] else "")
        table.add_row(
            name, plain(number), interval(number), str(number["count"]),
            f"{gate['relation']} {gate['threshold']:g}",
            Text(gate["verdict"], styles[gate["verdict"]]),
        )  # fmt: skip
    return table


def plain(number: Number, digits: int = 2) -> str:
    """The value of an estimate, or a dash."""
    return "-" if number["value"] is None else f"{number['value']:.{digits}f}"


def percent(number: Number, digits: int = 1) -> str:
    """The value of an estimate in per cent, or a dash."""
    return "-" if number["value"] is None else f"{100 * number['value']:.{digits}f} %"


def significant(number: Number) -> str:
    """The value of an estimate in three figures, or a dash."""
    return "-" if number["value"] is None else _figures(number["value"])


def interval(number: Number, factor: float = 1, digits: int | None = None) -> str:
    """The interval of an estimate in brackets, in three figures unless digits are given; empty
    where there is none."""
    if number["low"] is None:
        return ""
    ends = (factor * number["low"], factor * number["high"])
    return f"[{', '.join(_figures(e) if digits is None else f'{e:.{digits}f}' for e in ends)}]"


def _figures(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _table(title: str, *left: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
                  pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
    for column in left:
        table.add_column(column)
    return table


def _numbers(title: str, first: str) -> Table:
    """A table with a number a line."""
    table = _table(title, first, "number")
    for column in ("value", "95 % interval", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _add_run(table: Table, name: str, found: Mapping[str, Any]) -> None:
    for rule, share in found["rates"].items():
        shown = (percent(share), f"{interval(share, 100, 1)} %", str(share["count"]))
        table.add_row(name, f"share {rule}", *shown)
    for key, words in (("steps_to_exact", "exact"), ("steps_to_rule", "seed-rule")):
        steps = found[key]
        shown = (significant(steps), interval(steps), str(steps["count"]))
        table.add_row(name, f"median steps to {words}", *shown)
    for mode, loss in found["losses"].items():
        table.add_row(
            name, f"loss of the {mode}, nats", plain(loss), interval(loss), str(loss["count"])
        )


def _difference(minus: Mapping[str, Number]) -> list[str]:
    exact, steps, nats = minus["exact_rate"], minus["steps"], minus["nats_per_slot"]
    points = "-" if exact["value"] is None else f"{100 * exact['value']:+.0f}"
    return [
        str(exact["count"]),
        f"{points} {interval(exact, 100, 0)}",
        _brief(steps),
        _brief(nats),
    ]


def _brief(number: Number) -> str:
    """An estimate with its interval, with a decimal where it is small."""
    if number["value"] is None:
        return "-"
    value, *ends = (
        f"{each:.1f}" if abs(each) < 9.95 else f"{each:.0f}"
        for each in (number["value"], number["low"], number["high"])
    )
    return f"{value} [{', '.join(ends)}]"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
