"""Does a run over workers that are killed, and whose driver is, end as if nothing had been?

    OMP_NUM_THREADS=1 python experiments/faults/kill_workers.py --engine local --pairs 500

One run is made in one process. Another is made by two workers of an engine: a worker is killed by
SIGKILL three times and the driver once, at chosen numbers of finished pairs, and the driver is
started again with `resume`. Of `torchrun` one of the three is a whole rank, and torchrun itself
starts again what was lost. Then ids, results, contents and curves are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("local", "ray", "torchrun"), default="local")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--worker-kills", type=int, default=3)
    parser.add_argument("--driver-kills", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("runs/kill-workers"))
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        drive(args)
        return
    alone, killed = args.out / "alone", args.out / args.engine
    began = time.perf_counter()
    if not (alone / "summary.json").exists():
        experiment(args).run(alone)
    alone_seconds = time.perf_counter() - began
    state_of(args).write_text(json.dumps({"plan": plan(args), "done": [], "pids": []}))
    command = [__file__, *sys.argv[1:], "--drive"]
    if args.engine == "torchrun":
        options = [f"--nproc-per-node={args.workers}", "--max-restarts=9"]
        command = ["-m", "torch.distributed.run", "--standalone", *options, *command]
    began = time.perf_counter()
    statuses = []
    while not statuses or statuses[-1] == -signal.SIGKILL:
        with (args.out / f"{args.engine}.log").open("a") as log:
            done = subprocess.run([sys.executable, *command], stdout=log, stderr=log, check=False)
        statuses.append(done.returncode)
        left = still_there(json.loads(state_of(args).read_text())["pids"])
    found = {
        "engine": args.engine,
        "kills": json.loads(state_of(args).read_text())["done"],
        "exit_statuses_of_drivers": statuses,
        "workers_that_outlived_their_driver": left,
        "seconds": round(time.perf_counter() - began, 1),
        "seconds_alone": round(alone_seconds, 1),
    }
    sys.path.insert(0, str(HERE))
    from kills import compare

    found |= compare(alone, killed)
    print(json.dumps(found, indent=2))


def experiment(args: argparse.Namespace) -> Any:
    """Sums on the bundled model."""
    import dcm

    return dcm.Experiment(
        dataset=dcm.find("dataset", "arithmetic")(count=args.pairs), slots=8, lanes=args.lanes
    )


def plan(args: argparse.Namespace) -> list[list[Any]]:
    """When what is killed: [finished pairs, what], sorted."""
    what = ["worker"] * args.worker_kills
    if args.engine == "torchrun" and what:
        what[-1] = "rank"
    what += ["driver"] * args.driver_kills
    moments = random.Random(args.seed)
    moments.shuffle(what)
    part = 0.9 * args.pairs / max(1, len(what))
    whens = [int(part * (place + moments.uniform(0.2, 0.8))) for place in range(len(what))]
    return [[max(1, when), each] for when, each in zip(whens, what, strict=True)]


def state_of(args: argparse.Namespace) -> Path:
    args.out.mkdir(parents=True, exist_ok=True)
    return Path(args.out / f"{args.engine}.state.json")


def drive(args: argparse.Namespace) -> None:
    """A driver, which kills its workers and itself."""
    folder = args.out / args.engine
    many = None if args.engine == "torchrun" else args.workers
    resume = (folder / "experiment.json").exists()

    paused: list[int] = []

    def on_progress(progress: Any) -> None:
        told = json.loads(state_of(args).read_text())
        pids = [each.pid for each in progress.workers]
        told["pids"] = sorted({*told["pids"], *pids})
        working = [each for each in progress.workers if each.state == "working"]
        there = [each for each in progress.workers if each.state in ("working", "waiting")]
        remote = [each for each in there if not each.name.startswith("0.")]
        kill = 0
        if told["plan"] and progress.finished >= told["plan"][0][0]:
            what = told["plan"][0][1]
            chosen = remote if what == "rank" else working
            if what == "driver":
                kill = os.getpid()
            elif chosen:
                pid = chosen[len(told["done"]) % len(chosen)].pid
                kill = parent_of(pid) if what == "rank" else pid
                while paused:
                    os.kill(paused.pop(), signal.SIGCONT)
            elif not paused:  # the other rank comes late: this one must not end the run before it
                paused.extend(each.pid for each in working)
                for pid in paused:
                    os.kill(pid, signal.SIGSTOP)
        if kill:
            told["done"].append([progress.finished, what])
            told["plan"].pop(0)
        state_of(args).write_text(json.dumps(told))
        if kill:
            os.kill(kill, signal.SIGKILL)

    experiment(args).run(
        folder, resume=resume, engine=args.engine, workers=many, on_progress=on_progress, warn=print
    )


def parent_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def still_there(pids: list[int], seconds: float = 20) -> list[int]:
    """Which of the processes have not ended in so many seconds."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
