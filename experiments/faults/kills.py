"""Does a run that is killed again and again end as if it had never been?

    OMP_NUM_THREADS=1 python experiments/faults/kills.py --pairs 300 --kills 50 --workers 1 -- \\
        --dataset squad --set dataset.path=dev-v2.0.json --set dataset.limit=300 --set lanes=8

One run is left alone. Another is killed by SIGKILL at random moments and resumed each time; with
`--workers 2` two processes are started at once each time, as a batch system does by mistake, and
both are killed. Then ids, results, contents and curves are compared. Each worker is a process of
its own, forked from one that has imported everything: imports would be most of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import transformers.models.auto.modeling_auto  # noqa: F401 - imported here, it costs a worker nothing
from safetensors import safe_open

import dcm.cli
import dcm.running.experiment

COMMAND = ["dcm", "run", "--no-track"]
IN_USE = " is in use"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", nargs="+", help="what `dcm run` is given, after --")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    asked = parser.parse_args()
    settings = asked.settings
    alone, killed = asked.out / "alone", asked.out / f"killed-{asked.workers}-{asked.seed}"
    if not (alone / "summary.json").exists():
        Worker([*settings, "--out", str(alone)], asked.out / "alone.log").wait()
    moments = random.Random(asked.seed)  # noqa: S311
    found = kill_again_and_again(killed, settings, asked.kills, asked.workers, asked.pairs, moments)
    found |= compare(alone, killed)
    print(json.dumps(found, indent=2))
    (asked.out / f"kills-{asked.workers}.json").write_text(json.dumps(found, indent=2) + "\n")


class Worker:
    """A process that runs `dcm run` with further arguments and writes what it says into a file."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.code: int | None = None
        log.write_text("")
        self.pid = os.fork()
        if not self.pid:
            target = os.open(log, os.O_WRONLY | os.O_APPEND)
            for descriptor in (1, 2):
                os.dup2(target, descriptor)
            sys.argv = [*COMMAND, *arguments]
            code = 1
            try:
                dcm.cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                os._exit(code)

    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        while not self.ended():
            time.sleep(0.02)
        assert self.code is not None
        return self.code


def kill_again_and_again(
    folder: Path, settings: list[str], kills: int, workers: int, pairs: int, moments: random.Random
) -> dict[str, object]:
    """Start, kill, resume, until it was killed so often; then let it end."""
    done, refused, before_it_began, by_progress = 0, 0, 0, []
    while True:
        begun = (folder / "experiment.json").exists()
        options = ["--out", str(folder), *(["--resume"] if begun else settings)]
        logs = [folder.with_name(f"{folder.name}.{number}.log") for number in range(workers)]
        started = [Worker(options, log) for log in logs]
        if done < kills:
            if moments.random() < 0.4:
                wait(lambda: False, moments.uniform(0, 3))
            else:
                # While lines are written: some of a group are there, and some are not.
                wanted = count_lines(folder) + moments.randint(1, max(1, pairs // kills))
                wait(
                    lambda wanted=wanted, started=started: (
                        count_lines(folder) >= wanted or all(each.ended() for each in started)
                    ),
                    120,
                )
            alive = [each for each in started if not each.ended()]
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
