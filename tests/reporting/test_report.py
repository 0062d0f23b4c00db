"""A report is one page that shows what runs came to, whatever is in them and whatever is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm.running.curve_parts import CurveParts

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ATTACK = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> $x$"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with two finished runs, K = 6 and K = 8."""
    folder = tmp_path_factory.mktemp("sweep")
    for slots in (6, 8):
        arithmetic = dcm.find("dataset", "arithmetic")(count=3)
        dcm.Experiment(dataset=arithmetic, slots=slots).run(folder / f"slots={slots}")
    return folder


@pytest.fixture
def run(runs, tmp_path) -> Path:
    """A copy of one of them, to damage."""
    return Path(shutil.copytree(runs / "slots=8", tmp_path / "run"))


class _Page(HTMLParser):
    """The texts a reader sees, and what a page refers to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.inside = ""
        self.data: dict[str, Any] = {}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag
        found = dict(attrs)
        self.addresses += [str(found[key]) for key in ("src", "href", "xlink:href") if key in found]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script" and data.startswith("{"):
            self.data = json.loads(data)
        elif self.inside not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def change(run: Path, place: int, **values: Any) -> None:
    """Give a line of a run's results other values."""
    path = run / "results.jsonl"
    lines = path.read_text().splitlines()
    lines[place] = json.dumps({**json.loads(lines[place]), **values})
    path.write_text("\n".join(lines) + "\n")


def test_a_page_needs_nothing_else_and_figures_stand_beside_it(run) -> None:
    path = dcm.report(run)
    assert path == run / "report.html"
    page = _Page(path)
    assert all(each.startswith("#") for each in page.addresses), page.addresses
    assert "default-src 'none'" in path.read_text()
    figures = sorted(each.name for each in (run / "report-figures").iterdir())
    assert {"curves.svg", "curves.png", "steps.svg", "losses.png"} <= set(figures)
    for svg in (run / "report-figures").glob("*.svg"):
        ET.parse(svg)  # noqa: S314 - a file of ours


def test_ids_on_a_page_are_unique(runs, tmp_path) -> None:
    text = dcm.report(runs, out=tmp_path / "r.html").read_text()
    found = re.findall(r'\bid="([^"]+)"', text)
    assert len(found) == len(set(found))


def test_the_verdict_and_the_numbers_are_those_of_the_run(run) -> None:
    change(run, 0, certified=False, exact=False, status="MAX_STEPS")
    change(run, 1, certified=True)
    change(run, 2, certified=True)
    (run / "summary.json").unlink()
    text = _Page(dcm.report(run)).text
    assert "2 of 3 examples (66.7 %, 95 % interval 21 to 94 %) are certified" in text
    assert "1 ran out of steps" in text


def test_every_example_is_in_the_table_with_what_was_decoded(run) -> None:
    change(run, 0, decoded={"question": "other", "answer": "words"})
    lines = [json.loads(each) for each in (run / "results.jsonl").read_text().splitlines()]
    data = _Page(dcm.report(run)).data
    rows = [dict(zip(data["fields"], row, strict=True)) for row in data["rows"]]
    assert [row["id"] for row in rows] == [line["id"] for line in lines]
    assert rows[0]["decoded"] == {"question": "other", "answer": "words"}
    assert [row["question"] for row in rows] == [line["question"] for line in lines]
    assert rows[0]["loss"] == pytest.approx(sum(lines[0]["losses"].values()), abs=1e-4)


def test_texts_stay_texts(runs, tmp_path) -> None:
    run = Path(shutil.copytree(runs / "slots=8", tmp_path / "<b>&run"))
    change(
        run, 0, id=ATTACK, question=ATTACK, reason=ATTACK, certified=False,
        decoded={"question": ATTACK, "answer": "x", ATTACK: ATTACK},
    )  # fmt: skip
    with (run / "results.jsonl").open("a") as file:
        file.write("{}\n")  # its place, with the folder, is told
    page = _Page(dcm.report(run))
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert "b" not in page.tags
    assert "<b>&run" in page.text
    assert page.data["rows"][0][1] == ATTACK


def test_an_unfinished_run_says_so(run) -> None:
    (run / "summary.json").unlink()
    lines = (run / "results.jsonl").read_bytes().splitlines(keepends=True)
    (run / "results.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    page = _Page(dcm.report(run))
    assert "Not finished, 2 of 3 examples so far" in page.text
    assert "Left out" not in page.text
    assert len(page.data["rows"]) == 2


def test_a_run_that_has_only_begun_has_a_page(run) -> None:
    for path in run.iterdir():
        if path.is_file() and path.name != "experiment.json":
            path.unlink()
    page = _Page(dcm.report(run))
    assert "No example has finished yet" in page.text
    assert page.data["rows"] == []
    assert not list((run / "report-figures").iterdir())


def test_what_is_damaged_is_left_out_and_named(run) -> None:
    lines = (run / "results.jsonl").read_bytes().splitlines(keepends=True)
    (run / "results.jsonl").write_bytes(lines[0] + b'{"id": 1}\n' + lines[2] + lines[0])
    (run / "curves.parquet").write_bytes(b"PAR1 no more")
    (run / "summary.json").write_text("{")
    (run / "damaged.jsonl").write_bytes(b"{\n{\n")
    page = _Page(dcm.report(run))
    assert "damaged.jsonl holds 2 lines that --resume put aside" in page.text
    assert len(page.data["rows"]) == 2
    assert "results.jsonl:2 is damaged and left out: its 'id' is not a text" in page.text
    assert "results.jsonl:4 is left out" in page.text
    assert "curves" in page.text
    assert "summary.json cannot be read" in page.text


def test_losses_that_are_not_finite_are_no_obstacle(run) -> None:
    lines = [json.loads(each) for each in (run / "results.jsonl").read_text().splitlines()]
    for place in range(3):
        change(run, place, status="NONFINITE", losses={"question": None}, exact=False)
    (run / "curves.parquet").unlink()
    curves = CurveParts(run)
    point = {"attempt": 1, "step": 1, "mode": "question", "loss": float("nan")}
    curves.save([{**point, "id": line["id"]} for line in lines])
    curves.join()
    page = _Page(dcm.report(run))
    assert [row[page.data["fields"].index("loss")] for row in page.data["rows"]] == [None] * 3


def test_folders_stand_side_by_side(runs, tmp_path) -> None:
    page = _Page(dcm.report(runs / "slots=6", runs / "slots=8", out=tmp_path / "both.html"))
    assert page.data["runs"] == ["slots=6", "slots=8"]
    assert len(page.data["rows"]) == 6
    assert "slots=6:" in page.text
    assert "Runs side by side" in page.text
    names = {each.stem for each in (tmp_path / "both-figures").glob("*.svg")}
    assert {"sweep-certified-rate", "sweep-median-steps", "sweep-seconds-per-pair"} <= names


def test_runs_of_one_name_are_told_apart(run, runs, tmp_path) -> None:
    other = Path(shutil.copytree(runs / "slots=6", tmp_path / "other" / "run"))
    page = _Page(dcm.report(run, other, out=tmp_path / "both.html"))
    assert page.data["runs"] == [str(run), str(other)]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([3, 3], "K = 6 is enough to certify 90 % and 99 % of the examples (100.0 %"),
        ([0, 3], "K = 8 is enough to certify 90 % and 99 % of the examples (100.0 %"),
        ([0, 2], "None certifies 90 % of the examples; the most does K = 8 (66.7 %"),
    ],
)
def test_a_sweep_says_which_value_is_enough(runs, tmp_path, rates, said) -> None:
    sweep = Path(shutil.copytree(runs, tmp_path / "sweep"))
    for slots, certified in zip((6, 8), rates, strict=True):
        for place in range(3):
            change(sweep / f"slots={slots}", place, certified=place < certified)
    assert said in _Page(dcm.report(sweep)).text


def test_cells_that_failed_are_named(runs, tmp_path) -> None:
    sweep = Path(shutil.copytree(runs, tmp_path / "sweep"))
    cell = {"cell": "slots=9", "state": "failed", "error": "it does not fit"}
    (sweep / "cells.jsonl").write_text(json.dumps(cell) + "\n{\n")
    text = _Page(dcm.report(sweep)).text
    assert "Cell slots=9 of the sweep is failed: it does not fit" in text
    assert "cells.jsonl:2 is damaged" in text


def number(value: float, count: int = 3) -> dict[str, float]:
    return {"value": value, "low": value / 2, "high": min(1.0, value * 1.5), "count": count}


@pytest.fixture
def protocol(runs, tmp_path) -> Path:
    """A folder of a protocol that stopped at a gate after its second stage."""
    folder = tmp_path / "protocol"
    shutil.copytree(runs / "slots=8", folder / "stage-2")
    shutil.copytree(runs / "slots=6", folder / "controls" / "true-k6")
    gate = {"stage": "2", "measured": number(0.1), "relation": ">=", "threshold": 0.3}
    gate |= {"counted_by": "exact", "also": {}, "stops": True}
    grade = {"name": "convergence rate", "measured": number(0.1), "steps": [0.4, 0.7, 0.9]}
    signal = {"name": "few converged early", "fired": True, "advice": "raise K <now>"}
    exact = {"name": "true", "slots": 6, "exact_rate": number(1.0), "steps_to_exact": number(9.0)}
    record = {
        "stages": {
            "2": {
                "thresholds": [{**grade, "better": "above", "grade": "below"}],
                "signals": [signal],
            },
            "controls": {"runs": [exact], "max_steps": 50, "sentence": "Controls say nothing."},
        },
        "gates": [
            {**gate, "name": "loss falls", "verdict": "passed", "advice": ""},
            {**gate, "name": "both converge", "verdict": "failed", "advice": "try more slots"},
        ],
        "forced": [],
        "stopped": {"stage": "2", "reasons": [{"gate": "both converge", "advice": "more slots"}]},
    }
    (folder / "protocol.json").write_text(json.dumps(record))
    return folder


def test_a_protocol_shows_gates_thresholds_and_controls(protocol) -> None:
    page = _Page(dcm.report(protocol))
    assert "The protocol stopped after stage 2: both converge." in page.text
    assert "Controls say nothing." in page.text
    assert "try more slots" in page.text
    assert "raise K <now>" in page.text
    assert "> 0.4" in page.text
    assert sorted(page.data["runs"]) == ["controls/true-k6", "stage-2"]
    assert (protocol / "report-figures" / "controls.svg").exists()


def probe(optimised: str, probed: str, gain: dict[str, float | None]) -> dict[str, Any]:
    found = {"optimised": optimised, "probed": probed, "loss": number(4.0), "random": number(6.0)}
    found |= {"full_context": number(3.0), "below_random": number(2.0), "below_other": gain}
    return found | {"above_full_context": number(1.0), "verbatim": number(0.0), "f1": number(0.25)}


def test_a_protocol_says_whether_a_content_of_one_text_carries_the_other(protocol) -> None:
    record = json.loads((protocol / "protocol.json").read_text())
    record["stages"]["transfer"] = {
        "probes": [
            probe("question", "answer", {"value": 1.5, "low": 0.5, "high": 2.5, "count": 3}),
            probe("answer", "question", {"value": 0.25, "low": -1.0, "high": 1.5, "count": 3}),
        ]
    }
    (protocol / "protocol.json").write_text(json.dumps(record))
    text = _Page(dcm.report(protocol)).text
    assert (
        "A content of the question alone carries something of the answer: behind it the answer "
        "costs 4.00 nats a token, behind another example's content 5.50."
    ) in text
    assert "A content of the answer alone is not shown to carry the question" in text
    assert "1.50 [0.5, 2.5]" in text
    assert (protocol / "report-figures" / "transfer.svg").exists()


def test_probes_that_measured_nothing_are_no_obstacle(protocol) -> None:
    record = json.loads((protocol / "protocol.json").read_text())
    nothing = {"value": None, "low": None, "high": None, "count": 0}
    empty = probe("question", "answer", nothing)
    empty = {key: value if isinstance(value, str) else nothing for key, value in empty.items()}
    record["stages"]["transfer"] = {"probes": [empty]}
    (protocol / "protocol.json").write_text(json.dumps(record))
    assert "Transfer" in _Page(dcm.report(protocol)).text
    assert not (protocol / "report-figures" / "transfer.svg").exists()


def test_two_protocols_have_a_figure_of_controls_each(protocol, tmp_path) -> None:
    other = Path(shutil.copytree(protocol, tmp_path / "other"))
    dcm.report(protocol, other, out=tmp_path / "both.html")
    assert len(list((tmp_path / "both-figures").glob("controls-*.svg"))) == 2


def test_a_damaged_protocol_is_refused(protocol) -> None:
    (protocol / "protocol.json").write_text("{")
    with pytest.raises(dcm.RunDirectoryError, match=r"protocol\.json is damaged"):
        dcm.report(protocol)


def test_what_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(dcm.UsageError, match="no run was named"):
        dcm.report()
    with pytest.raises(dcm.RunDirectoryError, match="There is no such folder"):
        dcm.report(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_two_reports_of_a_run_are_the_same(run, tmp_path) -> None:
    first = dcm.report(run, out=tmp_path / "a.html").read_bytes()
    assert dcm.report(run, out=tmp_path / "b.html").read_bytes() == first


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_draws_the_table_and_marks_differences(run) -> None:
    change(run, 0, certified=False, question="where is the red fox", answer=ATTACK,
           decoded={"question": "where is the blue fox", "answer": ATTACK})  # fmt: skip
    page = dcm.report(run)
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={run / 'profile'}"
    done = subprocess.run(
        [*command, profile, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    assert "<del>red</del>" in done.stdout
    assert "<ins>blue</ins>" in done.stdout
    assert done.stdout.count('class="texts"') == 3
    assert "<title>dcm report: run</title>" in done.stdout
    assert "<img" not in done.stdout
