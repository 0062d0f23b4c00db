"""How many results a second does the process take that writes a run? With workers that only send.

Workers do not compute here: an engine of this process answers at once with results
as they come from workers, contents [K, D] and curves included. What is timed is everything that
the writing process does: checking, shards, reading back, curves, lines, progress.

    python experiments/benchmarks/writer.py --pairs 20000
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import torch
from common import table

import dcm
from dcm.engines import Engine, Gone
from dcm.engines.message import pack, unpack
from dcm.running.fingerprints import of_example
from dcm.running.looking import look_at_examples
from dcm.running.provenance import peak_memory
from dcm.running.solving import Facts
from dcm.running.summary import result_line


class Sending(Engine):
    """Workers that have the results at once."""

    def __init__(self, experiment: dcm.Experiment, width: int, together: int, workers: int) -> None:
        self.experiment, self.together, self._workers = experiment, together, workers
        self.content = torch.randn(experiment.slots, width)
        self.mode = torch.randn(width)
        self.messages: deque[tuple[str, bytes | Gone]] = deque()
        self.through: Counter[str] = Counter()
        self.spent = 0.0  # in making messages
        self.looked = 0.0

    def start(self, work: str) -> None:
        for number in range(self._workers):
            self._say(str(number), {"kind": "hello", "host": "here", "pid": 0})

    def _say(self, worker: str, value: dict[str, Any], tensors: Any = None) -> None:
        self.messages.append((worker, pack(value, tensors)))

    def receive(self, seconds: float) -> Iterator[tuple[str, bytes | Gone]]:
        if self.messages:
            yield self.messages.popleft()

    def send(self, worker: str, message: bytes) -> None:
        began = time.perf_counter()
        told, _ = unpack(message)
        if told["kind"] == "begin":
            self._say(worker, {"kind": "ready", **attrs.asdict(Facts.of(self.experiment))})
            if told["look"]:
                looked = look_at_examples(self.experiment, lambda _count, _at: None)
                self.looked = time.perf_counter() - began
                self._say(worker, {"kind": "looked", **attrs.asdict(looked)})
            self._take(worker)
        elif told["kind"] == "tasks":
            self._finish(worker, told["tasks"])
            self.through[worker] += len(told["tasks"])
            self._take(worker)
        elif told["kind"] == "end":
            self.messages.append((worker, Gone("it ended")))
        self.spent += time.perf_counter() - began

    def _take(self, worker: str) -> None:
        through = self.through[worker]
        self._say(worker, {"kind": "take", "count": self.together, "through": through})

    def _finish(self, worker: str, tasks: list[Any]) -> None:
        lines, curves = [], []
        contents = {f"mode/{mode}": self.mode.clone() for mode in ("question", "answer")}
        for place, key in tasks:
            example = self.experiment.dataset[place]
            losses = {"question": 0.0123456789, "answer": 0.0234567891}
            outcome = dcm.Outcome(
                example,
                dcm.Status.CONVERGED,
                steps=28,
                row_steps=28,
                attempts=1,
                losses=losses,
                exact=True,
                certified=True,
                margin=0.71,
                decoded={"question": example.question, "answer": example.answer},
            )
            judged = {"greedy-decode": {"question_verbatim": True, "answer_verbatim": True}}
            lines.append({**result_line(outcome, judged), "example": of_example(example)})
            contents[f"content/{key}"] = self.content.clone()
            curves += [
                {"id": key, "attempt": 1, "step": step, "mode": mode, "loss": 1.0 / step}
                for step in range(1, 23)
                for mode in losses
            ]
        value = {"kind": "finished", "lines": lines, "curves": curves, "layout": "prefix"}
        self._say(worker, value, contents)

    def replace(self, worker: str) -> None: ...

    @property
    def workers(self) -> int:
        return self._workers

    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[2000, 20000], metavar="N")
    parser.add_argument("--path", help="official JSON file of SQuAD (default: sums)")
    parser.add_argument("--slots", type=int, default=32, help="K (default: %(default)s)")
    parser.add_argument("--width", type=int, default=576, help="D (default: %(default)s)")
    parser.add_argument("--together", type=int, default=56, help="results in a message")
    parser.add_argument("--workers", type=int, default=8)
    args = parser.parse_args()
    rows = []
    for count in args.pairs:
        source: Any = (
            dcm.find("dataset", "squad")(path=args.path, limit=count)
            if args.path
            else dcm.find("dataset", "arithmetic")(count=count)
        )
        experiment = dcm.Experiment(dataset=source, slots=args.slots)
        engine = Sending(experiment, args.width, args.together, args.workers)
        with TemporaryDirectory(dir=".") as folder:
            run = Path(folder, "run")
            began = time.perf_counter()
            finished = experiment.run(run, engine=engine)["finished"]
            seconds = time.perf_counter() - began - engine.spent
            sizes = {
                name: sum(each.stat().st_size for each in run.glob(pattern)) / finished
                for name, pattern in (
                    ("line", "results.jsonl"),
                    ("curve", "curves.parquet"),
                    ("content", "content/*"),
                )
            }
        rows.append(
            [
                f"{finished:,}",
                finished / seconds,
                1e-6 * finished * sum(sizes.values()) / seconds,
                finished / engine.looked,
                sizes["line"],
                sizes["curve"],
                sizes["content"],
                peak_memory("cpu") / 2**20,
            ]
        )
    head = ["results", "a second", "MB/s", "looked at a second"]
    head += ["bytes: line", "curve", "content", "peak MiB"]
    print(f"contents [{args.slots}, {args.width}] float32, {args.workers} workers")
    print(table(head, rows))


if __name__ == "__main__":
    main()
