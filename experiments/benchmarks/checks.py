"""What do checksums, fingerprints, the lock and durable writing cost a run?

Every function that does such a thing is timed where it is called, what it calls included, and put
beside the wall time of the run: a run of generated sums with the bundled model, then the same run
resumed, which checks all that is kept, and verified.

    OMP_NUM_THREADS=1 python experiments/benchmarks/checks.py --pairs 1000 --slots 8

Processor time is told beside wall time, since other programs may use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import table

import dcm
from dcm.causal_lm import generator
from dcm.running import (
    contents,
    curve_parts,
    description,
    disk,
    lock,
    looking,
    run_directory,
    session,
)
from dcm.running.verify import verify
from dcm.solver import guard

TIMED = {
    "fingerprints of examples": [(looking, "of_example"), (session, "of_examples")],
    "fingerprint of the model": [(generator, "fingerprint")],
    "fingerprints of the experiment": [(description, "of_value")],
    "checksums of contents": [(contents, "of_tensor")],
    "shapes and states checked": [(guard, "_check"), (guard, "_check_state")],
    "lock": [(run_directory.Lock, "__init__"), (lock, "_release")],
    "fsync": [(os, "fsync")],
    "moved to its place": [(disk, "settle"), (curve_parts, "settle")],
    "lines and contents that are kept": [(run_directory, "sort_lines")],
}


class Spent:
    """Seconds by name, of the wall and of the processor; within one another only once."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._deep = 0
        for name, places in TIMED.items():
            for owner, attribute in places:
                setattr(owner, attribute, self._timed(name, getattr(owner, attribute)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._deep:
                return function(*arguments, **named)
            self._deep += 1
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.wall[name] += time.perf_counter() - wall
                self.processor[name] += time.thread_time() - processor
                self.calls[name] += 1
                self._deep -= 1

        return timed

    def take(self) -> dict[str, tuple[int, float, float]]:
        """name -> calls, wall and processor seconds, since it was last asked."""
        taken = {name: (self.calls[name], self.wall[name], self.processor[name]) for name in TIMED}
        for each in (self.wall, self.processor, self.calls):
            each.clear()
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    nano = dcm.find("generator", "nano")(device="cpu")
    sums = dcm.find("dataset", "arithmetic")(count=asked.pairs)
    experiment = dcm.Experiment(generator=nano, dataset=sums, slots=asked.slots)
    spent, found = Spent(), {}
    with TemporaryDirectory(dir=Path.cwd()) as folder:  # on a disk: /tmp may be memory

        def resume() -> None:
            (Path(folder) / "run" / "summary.json").unlink()
            experiment.run(Path(folder) / "run", resume=True)

        for name, do in {
            "run": lambda: experiment.run(Path(folder) / "run"),
            "resumed with nothing left": resume,
            "verified": lambda: verify(Path(folder) / "run"),
        }.items():
            wall, processor = time.perf_counter(), time.process_time()
            do()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            parts = spent.take()
            found[name] = {"wall": wall, "processor": processor, "parts": parts}
            rows = [
                [part, calls, f"{a:.3f}", f"{100 * a / wall:.2f}", f"{100 * b / processor:.2f}"]
                for part, (calls, a, b) in parts.items()
                if calls
            ]
            walls, processors = (sum(part[at] for part in parts.values()) for at in (1, 2))
            shares = (f"{100 * walls / wall:.2f}", f"{100 * processors / processor:.2f}")
            rows.append(["all", sum(part[0] for part in parts.values()), f"{walls:.3f}", *shares])
            print(f"\n{name}: {wall:.1f} s, of which the processor {processor:.1f} s\n")
            print(table(["part", "calls", "s", "% of wall", "% of processor"], rows))
    if asked.out:
        asked.out.write_text(json.dumps({"pairs": asked.pairs, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
