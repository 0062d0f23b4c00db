"""Tables of a report: runs side by side, gates and thresholds, settings, examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dcm.protocol.report import interval, percent, plain
from dcm.reporting.runs import Run, varying
from dcm.reporting.units import duration, rate, size
from dcm.reporting.verdict import words
from dcm.sweeping.cells import shown

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings, and lines of cells."""

_SHARED_FIRST = ("generator", "dataset", "objective", "optimizer", "criterion", "slots", "seed")


def runs_table(runs: Sequence[Run]) -> Table:
    """A line a run: where it differs, and what it came to."""
    keys = varying(runs) if len(runs) > 1 else []
    keys = sorted(keys, key=lambda key: key != "slots")[:4]
    heads = ["run", *map(words, keys), "examples", "certified", "95 % interval", "exact"]
    heads += ["steps, median", "90th percentile", "loss / random", "time", "row-steps a second"]
    heads += ["memory"]
    lines = []
    for run in runs:
        found, certified = run.summary, run.certified
        whole = "" if run.done else f" of {found['examples']}, not finished"
        lines.append(
            [
                run.name,
                *(_shown(run.settings.get(key)) for key in keys),
                f"{run.finished}{whole}",
                percent(certified.as_json()) if run.is_certified else "-",
                f"{interval(certified.as_json(), 100, 0)} %" if run.is_certified else "",
                f"{100 * found['exact_rate']:.1f} %" if run.finished else "-",
                _number(found["median_steps"], "{:g}"),
                _number(found["p90_steps"], "{:g}"),
                _number(found["mean_loss_ratio"], "{:.3f}"),
                duration(found["wall_seconds"]) if found.get("wall_seconds") else "-",
                rate(found["row_steps_per_second"]) if found.get("row_steps_per_second") else "-",
                size(found["peak_memory_bytes"]) if found.get("peak_memory_bytes") else "-",
            ]
        )
    return heads, lines


def grades_table(runs: Sequence[Run]) -> Table:
    """The means of what evaluators and the data set said; the longer side goes down the page."""
    known = [run for run in runs if run.summary.get("evaluations")]
    found = {
        run.name: {
            f"{name}: {key.removeprefix('mean_').replace('_', ' ')}": value
            for name, each in run.summary["evaluations"].items()
            for key, value in each.items()
        }
        for run in known
    }
    keys = list(dict.fromkeys(key for each in found.values() for key in each))
    if len(found) > len(keys):
        lines = [
            [name, *(_number(each.get(key), "{:.3g}") for key in keys)]
            for name, each in found.items()
        ]
        return ["run", *keys], lines
    lines = [[key, *(_number(each.get(key), "{:.3g}") for each in found.values())] for key in keys]
    return ["mean", *found], lines


def gates_table(record: Mapping[str, Any]) -> Table:
    """A line a gate of a protocol."""
    lines = []
    for gate in record["gates"]:
        number, counted = gate["measured"], gate["counted_by"]
        lines.append(
            [
                gate["name"] + (f" ({counted})" if counted else ""),
                gate["verdict"],
                gate["stage"],
                plain(number),
                interval(number),
                str(number["count"]),
                f"{gate['relation']} {gate['threshold']:g}",
                gate["advice"],
            ]
        )
    return ["gate", "verdict", "stage", "measured", "95 % interval", "n", "needs", "advice"], lines


def thresholds_table(record: Mapping[str, Any]) -> Table:
    """A line a threshold of the joint stage, and one a signal that fired."""
    stage = record["stages"].get("2", {})
    lines = []
    for each in stage.get("thresholds", []):
        number, sign = each["measured"], ">" if each["better"] == "above" else "<"
        steps = [f"{sign} {step:g}" for step in each["steps"]]
        measured = [plain(number), interval(number), str(number["count"])]
        lines.append([each["name"], each["grade"], *measured, *steps])
    heads = ["number", "grade", "measured", "95 % interval", "n", "minimum", "good", "excellent"]
    return heads, lines


def signals(record: Mapping[str, Any]) -> list[str]:
    """The signals of the joint stage that fired, a sentence each."""
    fired = [each for each in record["stages"].get("2", {}).get("signals", []) if each["fired"]]
    return [f"{each['name']}: {each['advice']}." for each in fired]


def transfer_table(record: Mapping[str, Any]) -> Table:
    """A line a transfer probe: losses in nats a token, and what was decoded."""
    lines = []
    for each in record["stages"].get("transfer", {}).get("probes", []):
        gains = [each[key] for key in ("below_random", "below_other")]
        lines.append(
            [
                each["optimised"],
                each["probed"],
                str(each["loss"]["count"]),
                *(plain(each[key]) for key in ("loss", "random", "full_context")),
                *(f"{plain(gain)} {interval(gain)}" for gain in gains),
                percent(each["verbatim"]),
                percent(each["f1"]),
            ]
        )
    heads = ["content of", "measured on", "n", "loss", "random content", "as plain text"]
    heads += ["gain on random", "gain on another's content", "verbatim", "F1"]
    return heads, lines


def carried(record: Mapping[str, Any]) -> list[str]:
    """What each transfer probe says, a sentence each."""
    return [
        f"A content of the {each['optimised']} alone {_carries(each['below_other'])} the "
        f"{each['probed']}: behind it the {each['probed']} costs {plain(each['loss'])} nats a "
        f"token, behind another example's content "
        f"{each['loss']['value'] + each['below_other']['value']:.2f}."
        for each in record["stages"].get("transfer", {}).get("probes", [])
        if each["loss"]["value"] is not None and each["below_other"]["value"] is not None
    ]


def _carries(gain: Mapping[str, Any]) -> str:
    """What a gain on another example's content says, by its interval."""
    if gain["low"] is not None and gain["low"] > 0:
        return "carries something of"
    if gain["high"] is not None and gain["high"] < 0:
        return "hinders"
    return "is not shown to carry"


def differences_table(record: Mapping[str, Any]) -> Table:
    """A line a control or ablation: the share exact, and its difference from what it varies."""
    lines = []
    for stage, minus in (("controls", "minus_true"), ("4", "minus_base")):
        for each in record["stages"].get(stage, {}).get("runs", []):
            exact, steps = each["exact_rate"], each["steps_to_exact"]
            less = each.get(minus, {})
            lines.append(
                [
                    str(each.get("name", each.get("label"))),
                    str(each["slots"]),
                    str(exact["count"]),
                    f"{percent(exact)} {interval(exact, 100, 0)}",
                    f"{plain(steps, 1)} {interval(steps)}",
                    *(
                        f"{plain(less[key], 2)} {interval(less[key])}" if key in less else ""
                        for key in ("exact_rate", "steps")
                    ),
                ]
            )
    heads = ["pairs or change", "K", "n", "exact", "steps to exact"]
    return [*heads, "exact share, minus the true", "steps, minus the true"], lines


def settings_table(runs: Sequence[Run]) -> Table:
    """What all runs share, and the versions of the first."""
    differ = varying(runs) if len(runs) > 1 else []
    first = runs[0]
    shared = {
        key: value
        for key, value in first.settings.items()
        if not any(key == each or key.startswith(f"{each}.") for each in differ)
    }
    order = [key for key in _SHARED_FIRST if key in shared]
    lines = [[key, _shown(shared[key])] for key in [*order, *(k for k in shared if k not in order)]]
    for key, value in (first.form.get("chosen") or {}).items():
        lines.append([f"{key}, chosen", _shown(value)])
    for key, value in (first.form.get("versions") or {}).items():
        lines.append([f"version of {key}", _shown(value)])
    lines.append(["git commit", _shown(first.form.get("git_commit"))])
    lines += [
        [key, _shown(first.summary[key])] for key in ("device", "dtype") if key in first.summary
    ]
    return ["setting", "value"], lines


def examples(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page's table of examples is made from; see page.js.

    Returns:
        `runs`, names; `fields`, the names of a row's cells; `rows`. A row has its run as an index,
        its loss as the sum of its modes in nats, and `decoded` as mode -> text, or 1 where every
        text is what was asked for.
    """
    fields = ["run", "id", "status", "certified", "exact", "attempts", "steps", "loss", "shape"]
    fields += ["reason", "question", "answer", "decoded"]
    rows = []
    for number, run in enumerate(runs):
        for each in run.results:
            losses = [loss for loss in each["losses"].values() if loss is not None]
            asked = {"question": each["question"], "answer": each["answer"]}
            decoded = each["decoded"]
            same = bool(decoded) and all(asked.get(mode) == text for mode, text in decoded.items())
            rows.append(
                [
                    number, each["id"], each["status"], each["certified"], each["exact"],
                    each["attempts"], each["steps"], round(sum(losses), 4) if losses else None,
                    run.health.get(each["id"], ""), each["reason"], each["question"],
                    each["answer"], 1 if same and len(decoded) == 2 else decoded,
                ]
            )  # fmt: skip
    return {"runs": [run.name for run in runs], "fields": fields, "rows": rows}


def _shown(value: Any) -> str:
    if isinstance(value, list | dict) and not (isinstance(value, dict) and "name" in value):
        return json.dumps(value, ensure_ascii=False)
    return shown(value)


def _number(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)
