"""report: one page on what runs came to, and its figures as files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import attrs

from dcm.errors import DcmError, UsageError
from dcm.reporting import tables
from dcm.reporting.sources import Source, named
from dcm.reporting.svg import inline, svg
from dcm.reporting.units import duration
from dcm.reporting.verdict import verdict
from dcm.running.disk import on_disk, write_bytes
from dcm.sweeping.figure import STYLE

PAGE = "report.html"


def report(*folders: str | Path, out: str | Path | None = None) -> Path:
    """Write a page on runs, sweeps and protocols, finished or not, and its figures.

    The page is one file that needs nothing else: no network, no other file. Beside it a folder,
    `report-figures` of `report.html`, gets each figure as SVG and PNG. What is damaged in a run is
    left out, and the page says what.

    Args:
        folders: of runs, of sweeps, of protocols, or of several of them; side by side.
        out: the page's file, replaced if it is there; default report.html in the first folder.

    Returns:
        The page's file.

    Raises:
        UsageError: no folder was named.
        RunDirectoryError: a folder holds no run, or what says what it is is damaged.
        DcmError: a file cannot be read or written, or matplotlib is not installed.
    """
    if not folders:
        raise UsageError("no run was named", "", 'Name one: dcm.report("runs/first")')
    sources = named(Source.read(path) for path in dict.fromkeys(Path(each) for each in folders))
    page = Path(out) if out is not None else Path(folders[0]) / PAGE
    drawn = list(_drawn(sources, figures_of(page)))
    write_bytes(page, _page(sources, drawn).encode())
    return page


def figures_of(page: Path) -> Path:
    """The folder of the figures of a page."""
    return page.with_name(f"{page.stem}-figures")


def _drawn(sources: Sequence[Source], folder: Path) -> Iterator[dict[str, Any]]:
    """Write the figures, and give each as the page has it."""
    try:
        from matplotlib import style
    except ImportError as error:
        do = "Install it: pip install matplotlib"
        raise DcmError("figures need matplotlib", "It is not installed", do) from error
    from dcm.reporting.figures import figures
    from dcm.reporting.protocol_figures import protocol_figures

    with style.context(STYLE), catch_warnings():
        # A name in letters that matplotlib's font lacks; the page has it in its own.
        simplefilter("ignore", UserWarning)
        found = list(figures([run for source in sources for run in source.main]))
        for number, source in enumerate(sources, start=1):
            drawings = list(protocol_figures(source.record)) if source.record else []
            if len(sources) > 1:
                drawings = [
                    attrs.evolve(
                        each, name=f"{each.name}-{number}", caption=f"{source.name}. {each.caption}"
                    )
                    for each in drawings
                ]
            found += drawings
        with on_disk(folder, "made"):
            folder.mkdir(parents=True, exist_ok=True)
        for each in found:
            text, picture = svg(each.canvas), BytesIO()
            each.canvas.savefig(picture, format="png")
            with on_disk(folder):
                (folder / f"{each.name}.svg").write_text(text, encoding="utf-8")
                (folder / f"{each.name}.png").write_bytes(picture.getvalue())
            yield {"svg": inline(text, each.name, each.caption), "caption": each.caption}


def _page(sources: Sequence[Source], drawn: Sequence[dict[str, Any]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    every = [run for source in sources for run in source.runs]
    script = (files("dcm.reporting") / "page.js").read_text(encoding="utf-8")
    style = (files("dcm.reporting") / "page.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    environment = Environment(
        loader=PackageLoader("dcm", "reporting"), autoescape=True, undefined=StrictUndefined
    )
    protocols = [
        {
            "name": source.name,
            "gates": tables.gates_table(source.record),
            "thresholds": tables.thresholds_table(source.record),
            "signals": tables.signals(source.record),
            "transfer": tables.transfer_table(source.record),
            "carried": tables.carried(source.record),
            "differences": tables.differences_table(source.record),
        }
        for source in sources
        if source.record is not None
    ]
    return environment.get_template("page.html.jinja").render(
        title=f"dcm report: {', '.join(source.name for source in sources)}",
        style=Markup(style),  # noqa: S704 - a file of ours
        script=Markup(script),  # noqa: S704 - a file of ours
        script_hash=base64.b64encode(digest).decode(),
        verdicts=[(source.name, verdict(source)) for source in sources],
        facts=_facts(sources),
        problems=[line for source in sources for line in source.problems],
        protocols=protocols,
        runs=tables.runs_table(every),
        grades=tables.grades_table(every),
        figures=[{**each, "svg": Markup(each["svg"])} for each in drawn],  # noqa: S704 - escaped
        settings=tables.settings_table(every),
        folders=[str(source.path) for source in sources],
        version=version("dynamic-context-memory"),
        data=Markup(_data(tables.examples(every))),  # noqa: S704 - escaped
    )


def _data(value: Any) -> str:
    """JSON that no text within can end, whatever it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _facts(sources: Sequence[Source]) -> list[tuple[str, str, str]]:
    """The numbers of the one run that a report is of, with what to say beside them."""
    runs = sources[0].runs
    if len(sources) > 1 or len(runs) > 1:
        return []
    run = runs[0]
    found, summary = [], run.summary
    if run.is_certified:
        count = round((run.certified.value or 0.0) * run.finished)
        found.append(("certified", f"{count} of {run.finished}", ""))
    exact = sum(each["exact"] for each in run.results)
    found.append(("exact", f"{exact} of {run.finished}", ""))
    if summary["median_steps"] is not None:
        p90 = summary["p90_steps"]
        more = f"90th percentile {p90:g}" if p90 is not None else ""
        found.append(("steps, median", f"{summary['median_steps']:g}", more))
    if summary["mean_loss_ratio"] is not None:
        found.append(("loss / random", f"{summary['mean_loss_ratio']:.3f}", ""))
    if summary.get("wall_seconds"):
        pace = summary["wall_seconds"] / run.finished if run.finished else 0.0
        more = f"{pace:.2g} s an example" if run.finished else ""
        found.append(("time", duration(summary["wall_seconds"]), more))
    if summary.get("row_steps_per_second"):
        more = f"{summary.get('device')}, {summary.get('dtype')}"
        found.append(("row-steps a second", f"{summary['row_steps_per_second']:.0f}", more))
    return found
