"""Does a run that is killed again and again end as if it had never been?

    python experiments/faults/kills.py dev-v2.0.json --pairs 300 --kills 50 --workers 1

One run is left alone. Another is killed by SIGKILL at random moments, from its first import on, and
resumed each time; with `--workers 2` two processes are started at once each time, as a batch system
does by mistake, and both are killed. Then ids, results, contents and curves are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from safetensors import safe_open

COMMAND = [sys.executable, "-c", "from dcm.cli import main; main()", "run", "--no-track"]
IN_USE = " is in use"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="a SQuAD 2.0 JSON file")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    asked = parser.parse_args()
    settings = ["--dataset", "squad", "--set", f"dataset.path={asked.data}"]
    settings += ["--set", f"dataset.limit={asked.pairs}", "--set", f"slots={asked.slots}"]
    settings += ["--set", "lanes=8", "--set", "baseline_draws=1"]
    alone, killed = asked.out / "alone", asked.out / f"killed-{asked.workers}-{asked.seed}"
    if not (alone / "summary.json").exists():
        subprocess.run([*COMMAND, *settings, "--out", str(alone)], check=True)  # noqa: S603
    moments = random.Random(asked.seed)  # noqa: S311
    found = kill_again_and_again(killed, settings, asked.kills, asked.workers, asked.pairs, moments)
    found |= compare(alone, killed)
    print(json.dumps(found, indent=2))
    (asked.out / f"kills-{asked.workers}.json").write_text(json.dumps(found, indent=2) + "\n")


def kill_again_and_again(
    folder: Path, settings: list[str], kills: int, workers: int, pairs: int, moments: random.Random
) -> dict[str, object]:
    """Start, kill, resume, until it was killed so often; then let it end."""
    done, refused, before_it_began, by_progress = 0, 0, 0, []
    while True:
        begun = (folder / "experiment.json").exists()
        options = ["--out", str(folder), *(["--resume"] if begun else settings)]
        logs = [folder.with_name(f"{folder.name}.{number}.log") for number in range(workers)]
        started = [
            subprocess.Popen(  # noqa: S603
                [*COMMAND, *options], stdout=log.open("w"), stderr=subprocess.STDOUT
            )
            for log in logs
        ]
        if done < kills:
            if moments.random() < 0.25:
                wait(lambda: False, moments.uniform(0, 6))  # while it loads, as a rule
            else:
                # Some examples later, at no particular moment.
                wanted = count_lines(folder) + moments.randint(0, 2 * pairs // kills)
                wait(lambda wanted=wanted: count_lines(folder) >= wanted, 120)
                wait(lambda: False, moments.uniform(0, 3))
            alive = [each for each in started if each.poll() is None]
            for each in alive:
                each.kill()
            done += bool(alive)
        codes = [each.wait() for each in started]
        refused += sum(IN_USE in log.read_text() for log in logs)
        before_it_began += not (folder / "experiment.json").exists()
        by_progress.append(count_lines(folder))
        unexpected = [
            log.read_text()[-500:]
            for code, log in zip(codes, logs, strict=True)
            if code not in (0, -9) and IN_USE not in log.read_text()
        ]
        if unexpected:
            raise SystemExit(f"it failed: {unexpected}")
        print(f"kill {done}: {by_progress[-1]} lines, exit statuses {codes}", flush=True)
        if 0 in codes:
            sets = {"kills": done, "refused": refused, "killed_before_it_began": before_it_began}
            return {"workers": workers, **sets, "lines_after_each": by_progress}


def count_lines(folder: Path) -> int:
    lines = folder / "results.jsonl"
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


def wait(until: object, seconds: float) -> None:
    """Wait until something is so, or for some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        time.sleep(0.02)


def compare(one: Path, other: Path) -> dict[str, object]:
    """What differs between two runs' folders."""
    first, second = (read(folder) for folder in (one, other))
    ids = [json.loads(line)["id"] for line in (other / "results.jsonl").open(encoding="utf-8")]
    return {
        "lines": len(ids),
        "ids": len(set(ids)),
        "results_that_differ": [key for key in first if first[key] != second.get(key)],
        "curves_are_equal": curves(one) == curves(other),
    }


def read(folder: Path) -> dict[str, dict[str, object]]:
    """id -> its line and the bytes of its content."""
    found = {}
    for text in (folder / "results.jsonl").open(encoding="utf-8"):
        result = json.loads(text)
        ref = result.pop("content")
        if ref:
            with safe_open(folder / ref["file"], framework="np") as shard:
                result["bytes"] = shard.get_tensor(ref["key"]).tobytes().hex()
        found[result["id"]] = result
    return found


def curves(folder: Path) -> list[tuple[object, ...]]:
    table = pq.read_table(folder / "curves.parquet").to_pydict()
    return sorted(zip(*table.values(), strict=True))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
