"""How long a report of many synthetic examples takes to write, and to open in Chromium.

    python experiments/benchmarks/report_page.py --examples 10000

Chromium opens the page headless, several times in a new profile. Two times are told, medians: until
the page's own script has drawn the table, by the page's clock, and of the whole process until it
has printed the document, start and end of the browser included.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import dcm
from dcm.running.curve_parts import CurveParts
from dcm.running.summary import summarise

WORDS = ("river", "stone", "bridge", "winter", "paper", "letter", "garden", "silver", "engine")
PROBE = "<script>document.title = 'drawn at ' + Math.round(performance.now())</script>"


def lines(count: int) -> list[dict[str, object]]:
    """Results as a run writes them, a third of them with errors in what was decoded."""
    dice = random.Random(0)
    found = []
    for number in range(count):
        question = " ".join(dice.choices(WORDS, k=12)) + "?"
        answer = " ".join(dice.choices(WORDS, k=3))
        good = number % 3 > 0
        losses = {"question": dice.random(), "answer": dice.random()}
        found.append(
            {
                "id": f"example-{number}",
                "status": "CONVERGED" if good else "MAX_STEPS",
                "reason": "",
                "attempts": 1 + number % 2,
                "steps": dice.randrange(5, 200),
                "row_steps": 200,
                "question": question,
                "answer": answer,
                "losses": losses,
                "baselines": {"random": {"question": 6.0, "answer": 9.0}},
                "exact": good,
                "margin": 0.1,
                "certified": good,
                "decoded": {"question": question if good else question[::-1], "answer": answer},
                "evaluations": {},
                "content": None,
            }
        )
    return found


def write_run(folder: Path, count: int, points: int) -> None:
    """A run's folder with so many examples, and so many points of each curve."""
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps(dcm.Experiment().describe()))
    found = lines(count)
    text = "\n".join(json.dumps(each) for each in found) + "\n"
    (folder / "results.jsonl").write_text(text)
    speed = {"wall_seconds": 100.0, "row_steps_per_second": 50.0, "device": "cpu"}
    (folder / "summary.json").write_text(
        json.dumps({**summarise(found, count), **speed, "dtype": "float32"})
    )
    curves = CurveParts(folder)
    dice = random.Random(1)
    curves.save(
        [
            {"id": each["id"], "attempt": 1, "step": step, "mode": mode, "loss": loss}
            for each in found
            for step in range(1, points + 1)
            for mode in ("question", "answer")
            for loss in [9.0 * 0.9**step * (1 + 0.1 * dice.random())]
        ]
    )
    curves.join()


def opened(page: Path, browser: str) -> tuple[float, float]:
    """Seconds until the page had drawn its table, and of the whole process."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, f"--user-data-dir={profile}", page.resolve().as_uri()],
            capture_output=True,
            text=True,
            check=True,
        )
        whole = time.perf_counter() - began
    drawn = re.search(r"<title>drawn at (\d+)</title>", done.stdout)
    assert drawn is not None, "the page's script did not run"
    assert done.stdout.count('class="texts"') > 0, "the table was not drawn"
    return int(drawn[1]) / 1000, whole


def main() -> None:
    """Make a run, write its report, open it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000, metavar="N")
    parser.add_argument("--points", type=int, default=40, metavar="N", help="of each curve")
    parser.add_argument("--times", type=int, default=5, metavar="N", help="how often it is opened")
    asked = parser.parse_args()
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        parser.error("there is no Chromium")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_run(run, asked.examples, asked.points)
        began = time.perf_counter()
        page = dcm.report(run)
        print(f"written in {time.perf_counter() - began:.1f} s")
        print(f"{page.stat().st_size / 2**20:.1f} MiB for {asked.examples} examples")
        # The probe is a script of its own, which the page's policy would refuse.
        text = re.sub(r"<meta http-equiv=.Content-Security-Policy[^>]*>", "", page.read_text())
        probed = page.with_name("probed.html")
        probed.write_text(text.replace("</body>", f"{PROBE}</body>"))
        found = [opened(probed, browser) for _ in range(asked.times)]
        print(f"drawn after {median(at for at, _ in found):.2f} s")
        print(f"browser begun, page opened, browser ended: {median(at for _, at in found):.2f} s")


if __name__ == "__main__":
    main()
