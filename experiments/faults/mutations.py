"""Whatever a run directory or a data file holds: the right end, or an error of dcm's own.

    python experiments/faults/mutations.py --count 1000000

Each number from `--first` on is a case: one file of a small run, or a small data file, is changed
by a few edits (bits, spans, lines, words that readers stumble over), and is read, resumed or
verified.
What comes must be a `DcmError` or a sound result.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

import dcm
from dcm.running.run_directory import RunDirectory
from dcm.running.verify import verify

DESCRIPTION = {
    "dataset": {"kind": "dataset", "name": "csv", "params": {"path": "/data/a.csv"}},
    "slots": 1,
    "fingerprints": {"examples": {"count": 3, "sha256": "0"}, "weights": "1"},
}
EXAMPLES = {"a": "1", "b": "2", "c": "3"}
_SQUAD = (
    '{"data": [{"title": "t", "paragraphs": [{"context": "It is red.", "qas": [{"id": "1", '
    '"question": "What?", "answers": [{"text": "red", "answer_start": 6}]}]}]}]}'
)
_ARC = '{"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]], "output": [[4]]}]}'
DATA = {
    "csv": ("a.csv", 'question,answer\r\n"What, is 1?",one\r\nWhat is 2?,"t""wo"\r\n'),
    "jsonl": (
        "a.jsonl",
        '{"question": "What?", "answer": "x"}\n{"question": "é", "answer": "1"}\n',
    ),
    "squad": ("a.json", _SQUAD),
    "arc": ("b.json", _ARC),
}
WORDS = [
    *(b"null", b"true", b"1e999", b"-1", b"NaN", b"9" * 400, b"0", b"{}", b"[]", b'""', b"\x00"),
    *(b'"\\ud800"', b"\xff\xfe", b"\xef\xbb\xbf", "\u2028".encode(), b"[" * 2000, b'{"a":' * 2000),
    *(b"\r", b"\n", b'"', b",", b":", b"..", b"/", b"content/../../x", b"999999999999"),
    *(b"\n{}\n", b"\nnull\n", b'"id": "a"', b"FAILED", b'"failing x: y"', b"CONVERGED"),
]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """The bytes after one, two or four edits."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        start, stop = sorted(draw.randint(0, len(data)) for _ in range(2))
        kind = draw.randrange(8)
        if kind == 0 and data:
            place = draw.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
        elif kind == 1:
            data = data[:start] + data[stop:]
        elif kind == 2:
            data = data[:start]
        elif kind == 3:
            data = data[:stop] + data[start:stop] + data[stop:]
        elif kind == 4:
            data = data[:start] + bytes(draw.randrange(256) for _ in range(9)) + data[start:]
        elif kind == 5:
            lines = data.splitlines(keepends=True)
            draw.shuffle(lines)
            data = b"".join(lines)
        elif kind == 6:
            data = data[:start] + draw.choice(WORDS) + data[start:]
        else:
            short = min(stop, start + 12)
            data = data[:start] + draw.choice(WORDS) + data[short:]
    return data


class Cases:
    """Makes and judges cases in a folder of its own.

    Args:
        folder: where to; in memory, if it is to be fast.
    """

    def __init__(self, folder: Path) -> None:
        self.run, self.data = folder / "run", folder / "data"
        shutil.rmtree(folder, ignore_errors=True)
        self.data.mkdir(parents=True)
        self.whole = self._make_run()
        self.found: Counter[str] = Counter()

    def _make_run(self) -> dict[str, bytes]:
        line = {
            "status": "CONVERGED",
            "reason": "",
            "attempts": 1,
            "steps": 2,
            "row_steps": 2,
            "question": "What?",
            "answer": "x",
            "losses": {"answer": 0.5},
            "baselines": {},
            "exact": True,
            "margin": 0.5,
            "certified": True,
            "decoded": {"answer": "x"},
            "evaluations": {"task": {"f1": 1.0}},
        }
        with RunDirectory.create(self.run, DESCRIPTION) as run:
            for key, value in {"a": 1.0, "b": 2.0}.items():
                content = torch.full((1, 4), value)
                run.save_contents({key: content}, {"answer": content[0]}, "prefix")
                more = {"id": key, "content": run.ref(key), "example": EXAMPLES[key]}
                run.append({**line, **more})
        (self.run / "summary.json").write_text('{"finished": 2}\n')
        files = [path for path in self.run.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.run)): path.read_bytes() for path in files}

    def judge(self, number: int) -> None:
        """One case.

        Raises:
            Exception: what is no DcmError, or an AssertionError where the result is not sound.
        """
        draw = random.Random(number)  # noqa: S311
        kind = draw.choice(["resume", "resume", "read", "verify", *DATA])
        try:
            {"resume": self._resume, "read": self._read, "verify": self._verify}.get(
                kind, lambda draw: self._dataset(kind, draw)
            )(draw)
            end = "sound"
        except dcm.DcmError:
            end = "refused"
        self.found[f"{kind} {end}"] += 1

    def _damaged_run(self, draw: random.Random) -> None:
        for extra in self.run.rglob("*"):
            if extra.is_file() and str(extra.relative_to(self.run)) not in self.whole:
                extra.unlink()
        chosen = draw.choice([*self.whole, "results.jsonl", "results.jsonl"])
        for name, data in self.whole.items():
            (self.run / name).write_bytes(mutate(data, draw) if name == chosen else data)

    def _resume(self, draw: random.Random) -> None:
        self._damaged_run(draw)
        with RunDirectory.resume(self.run, DESCRIPTION, EXAMPLES) as run:
            results = list(run.results())
            ids = [result["id"] for result in results]
            assert len(ids) == len(set(ids))
            assert set(ids) <= set(EXAMPLES)
            refs = [result["content"] for result in results if result["content"]]
            for content in run.load_contents(refs):
                assert content.shape[0] == 1

    def _read(self, draw: random.Random) -> None:
        self._damaged_run(draw)
        run = RunDirectory.open(self.run)
        refs = [result["content"] for result in run.results() if result["content"]]
        run.load_contents(refs)

    def _verify(self, draw: random.Random) -> None:
        self._damaged_run(draw)
        json.dumps(verify(self.run).problems)

    def _dataset(self, name: str, draw: random.Random) -> None:
        file, text = DATA[name]
        path = self.data / file
        path.write_bytes(mutate(text.encode(), draw))
        dataset = dcm.find("dataset", name)(path=str(path))
        for example in dataset:
            assert isinstance(example, dcm.Example)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    memory = Path("/dev/shm")  # noqa: S108
    began, wrong = time.monotonic(), 0
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        cases = Cases(Path(folder) / "cases")
        for number in range(asked.first, asked.first + asked.count):
            wrong += not _judged(cases.judge, number)
            if number % 10_000 == 9_999:
                rate = (number + 1 - asked.first) / (time.monotonic() - began)
                print(f"{number + 1}: {wrong} wrong, {rate:.0f} a second", flush=True)
    print(json.dumps({"cases": asked.count, "wrong": wrong, "ends": dict(cases.found)}, indent=2))


def _judged(judge: Callable[[int], None], number: int) -> bool:
    try:
        judge(number)
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        print(f"case {number}: {type(error).__name__}: {error}"[:300], flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
