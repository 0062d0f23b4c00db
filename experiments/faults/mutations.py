"""Whatever a run directory or a data file holds: the right end, or an error of dcm's own.

    python experiments/faults/mutations.py --count 1000000 --jobs 16

Each number from `--first` on is a case: one file of a small run, an experiment, or a small data
file is changed by a few edits (bits, spans, lines, words that readers stumble over), and is read,
resumed, verified, opened as a memory, reported on, or built.
What comes must be a `DcmError` or a sound result, within `SECONDS`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

import dcm
from dcm.cli.overrides import build_parts, check, check_remote_code, read_form
from dcm.reporting.sources import Source
from dcm.running.run_directory import RunDirectory
from dcm.running.verify import verify

SECONDS = 20
PART = 5_000  # cases that a process is given at once

DESCRIPTION = {
    "generator": {"kind": "generator", "name": "nano", "params": {}},
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
_HOTPOT = (
    '[{"_id": "1", "question": "Who?", "answer": "x", "type": "bridge", "level": "hard", '
    '"supporting_facts": [["A", 0]], "context": [["A", ["It is x.", "So."]], ["B", ["No."]]]}]'
)
_NATURAL = (
    '{"example_id": 7, "question_text": "who is it", "document_text": "it is x .", "annotations": '
    '[{"yes_no_answer": "NONE", "short_answers": [{"start_token": 2, "end_token": 3}], '
    '"long_answer": {"start_token": 0, "end_token": 4}}]}\n'
)
_TRIVIA = (
    '{"Data": [{"Question": "Who?", "QuestionId": "q", "Answer": {"Value": "x", "Aliases": '
    '["X", "y"]}, "QuestionPartOfVerifiedEval": true}]}'
)
_SUDOKU = "530070000600195000098000060800060003400803001700020006060000280000419005000080079"
_SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
_VARIANTS = (
    '{"id": "12+7", "question": "12+7=?", "answer": "19", "question_variants": ["What is 12+7?"], '
    '"answer_variants": ["nineteen"]}\n'
)


def _parquet() -> bytes:
    file = io.BytesIO()
    columns = {"question": ["What?", "é", "Who?"], "answer": [["x", "y"], ["1"], ["z"]]}
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


DATA = {
    "csv": ("a.csv", b'question,answer\r\n"What, is 1?",one\r\nWhat is 2?,"t""wo"\r\n'),
    "tsv": ("a.tsv", b"Question\tAnswer\nWhat is 1?\tone\nWhat is 2?\ttwo\n"),
    "jsonl": (
        "a.jsonl",
        '{"question": "What?", "answer": "x"}\n{"question": "é", "answer": "1"}\n'.encode(),
    ),
    "json": (
        "a.json",
        b'[{"question": "What?", "answer": ["x", 2.5]}, {"question": "", "answer": ""}]',
    ),
    "parquet": ("a.parquet", _parquet()),
    "squad": ("a.json", _SQUAD.encode()),
    "hotpotqa": ("a.json", _HOTPOT.encode()),
    "natural-questions": ("a.jsonl", _NATURAL.encode()),
    "triviaqa": ("a.json", _TRIVIA.encode()),
    "sudoku": ("a.csv", f"puzzle,solution\n{_SUDOKU},{_SOLVED}\n".encode()),
    "arithmetic": ("a.jsonl", b'{"context": "Q: What is 1+1? A:", "completion": " 2"}\n'),
    "paraphrased": ("a.jsonl", _VARIANTS.encode()),
    "arc": ("b.json", _ARC.encode()),
}
RUN = ("resume", "resume", "resume", "read", "verify", "memory", "memory", "report", "experiment")
WORDS = [
    *(b"null", b"true", b"1e999", b"-1", b"NaN", b"9" * 400, b"0", b"{}", b"[]", b'""', b"\x00"),
    *(b'"\\ud800"', b"\xff\xfe", b"\xef\xbb\xbf", "\u2028".encode(), b"[" * 2000, b'{"a":' * 2000),
    *(b"\r", b"\n", b'"', b",", b":", b"..", b"/", b"content/../../x", b"999999999999"),
    *(b"\n{}\n", b"\nnull\n", b'"id": "a"', b"FAILED", b'"failing x: y"', b"CONVERGED"),
]


VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 10**400, 0.5, 1e308, float("nan")),
    *(float("inf"), "", " ", "a", "id", "..", "/etc", "a/b", "\x00", "\ud800", "é" * 300, "9" * 30),
    *([], [[]], [None], ["a", "a"], {}, {"a": 1}, {"kind": "dataset", "name": "csv"}, {"": {}}),
    *("content/00000.safetensors", "FAILED", "CONVERGED", "NaN", "1e999", [1] * 300),
]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """The bytes after one, two or four edits."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        edited = _edit_json(data, draw) if draw.randrange(2) else None
        data = _edit_bytes(data, draw) if edited is None else edited
    return data


def _edit_bytes(data: bytes, draw: random.Random) -> bytes:
    start, stop = sorted(draw.randint(0, len(data)) for _ in range(2))
    flipped = bytes(byte ^ 1 << draw.randrange(8) for byte in data[start : start + 1])
    lines = draw.sample(every := data.splitlines(keepends=True), len(every))
    edits = [
        data[:start] + flipped + data[start + 1 :],
        data[:start] + data[stop:],
        data[:start],
        data[:stop] + data[start:stop] + data[stop:],
        data[:start] + draw.randbytes(9) + data[start:],
        b"".join(lines),
        data[:start] + draw.choice(WORDS) + data[start:],
        data[:start] + draw.choice(WORDS) + data[min(stop, start + 12) :],
    ]
    return draw.choice(edits)


def _edit_json(data: bytes, draw: random.Random) -> bytes | None:
    """The bytes with another value in a place of their JSON, or None if they have none.

    JSON is the whole, a line, or the header of a safetensors file.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        if data[8:9] == b"{" and size < len(data):
            edited = _edit_value(json.loads(data[8 : 8 + size]), draw)
            header = json.dumps(edited).encode()
            return len(header).to_bytes(8, "little") + header + data[8 + size :]
        lines = data.splitlines(keepends=True)
        place = draw.randrange(len(lines))
        if data.count(b"\n{") + 1 < len(lines):
            lines, place = [data], 0
        edited = _edit_value(json.loads(lines[place]), draw)
        lines[place] = json.dumps(edited).encode() + b"\n"
        return b"".join(lines)
    except (ValueError, RecursionError):
        return None


def _edit_value(value: object, draw: random.Random) -> object:
    """A JSON value with one value in it replaced, removed, doubled or under another name."""
    if not isinstance(value, (dict, list)) or not value or not draw.randrange(8):
        return draw.choice(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw.choice(keys)
    kind = draw.randrange(12)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, list):
        value.append(value[key])
    elif kind == 1:
        value[draw.choice(["", "a", "ä", draw.choice(keys)])] = value.pop(key)
    elif kind == 2:
        value[key] = value[draw.choice(keys)]
    else:
        value[key] = _edit_value(value[key], draw)
    return value


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
            "variant_losses": {},
            "interference": {"cosine": 0.5, "below_zero": 0.0},
            "baselines": {"random": {"answer": 9.5}},
            "exact": True,
            "margin": 0.5,
            "penalty": None,
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
        dcm.open(self.run)  # which leaves an index in it
        (self.run / "memory" / "removed.json").write_text('["b"]\n')
        files = [path for path in self.run.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.run)): path.read_bytes() for path in files}

    def judge(self, number: int) -> None:
        """One case.

        Raises:
            Exception: what is no DcmError, or an AssertionError where the result is not sound.
        """
        draw = random.Random(number)
        kind = draw.choice([*RUN, *DATA])
        try:
            if kind in DATA:
                self._dataset(kind, draw)
            else:
                self._damaged_run(draw, "experiment.json" if kind == "experiment" else "")
                getattr(self, f"_{kind}")()
            end = "sound"
        except dcm.DcmError:
            end = "refused"
        self.found[f"{kind} {end}"] += 1

    def _damaged_run(self, draw: random.Random, chosen: str) -> None:
        for extra in self.run.rglob("*"):
            if extra.is_file() and str(extra.relative_to(self.run)) not in self.whole:
                extra.unlink()
        chosen = chosen or draw.choice([*self.whole, "results.jsonl", "results.jsonl"])
        for name, data in self.whole.items():
            (self.run / name).write_bytes(mutate(data, draw) if name == chosen else data)

    def _resume(self) -> None:
        with RunDirectory.resume(self.run, DESCRIPTION, EXAMPLES) as run:
            results = list(run.results())
            ids = [result["id"] for result in results]
            assert len(ids) == len(set(ids))
            assert set(ids) <= set(EXAMPLES)
            refs = [result["content"] for result in results if result["content"]]
            for content in run.load_contents(refs):
                assert content.shape[0] == 1

    def _read(self) -> None:
        run = RunDirectory.open(self.run)
        refs = [result["content"] for result in run.results() if result["content"]]
        run.load_contents(refs)

    def _verify(self) -> None:
        json.dumps(verify(self.run).problems)

    def _memory(self) -> None:
        memory = dcm.open(self.run)
        found = [memory[each] for each in memory]
        assert len(found) == len(memory)
        for item in found:
            assert item.content.shape == (1, 4)
            assert item.content.dtype == torch.float32
        for place, relevance in memory.shortlist("What is it?", None):
            assert memory.numbered(place).id in memory
            assert math.isfinite(relevance)

    def _report(self) -> None:
        source = Source.read(self.run)
        json.dumps([source.problems, *(dict(run.summary) for run in source.runs)])

    def _experiment(self) -> None:
        form = read_form(self.run)
        check_remote_code(form, [])
        check(form)
        dcm.Experiment(**build_parts(form))

    def _dataset(self, name: str, draw: random.Random) -> None:
        file, data = DATA[name]
        path = self.data / file
        path.write_bytes(mutate(data, draw))
        fields = {"path": str(path)}
        if name == "paraphrased":
            fields["dataset"] = dcm.find("dataset", "arithmetic")(count=2)
        for example in dcm.find("dataset", name)(**fields):
            assert isinstance(example, dcm.Example)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    asked = parser.parse_args()
    began, wrong, done, ends = time.monotonic(), [], 0, Counter()
    last = asked.first + asked.count
    parts = [(at, min(at + PART, last)) for at in range(asked.first, last, PART)]
    with ProcessPoolExecutor(asked.jobs, get_context("spawn"), _begin) as pool:
        running = {pool.submit(judge_part, *part): part for part in parts}
        for part in as_completed(running):
            try:
                found, bad = part.result()
            except Exception as error:  # noqa: BLE001 - a process that died is a finding, too
                found, bad = Counter(), [f"cases {running[part]}: {type(error).__name__}: {error}"]
            else:
                done += running[part][1] - running[part][0]
            ends += found
            wrong += bad
            for line in bad:
                print(line, flush=True)
            rate = done / (time.monotonic() - began)
            print(f"{done}: {len(wrong)} wrong, {rate:.0f} a second", flush=True)
    result = {
        "cases": done,
        "first": asked.first,
        "wrong": wrong,
        "seconds": round(time.monotonic() - began, 1),
        "jobs": asked.jobs,
        "ends": dict(sorted(ends.items())),
    }
    print(json.dumps(result, indent=2))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=2) + "\n")


def _begin() -> None:
    torch.set_num_threads(1)
    pa.set_cpu_count(1)


def judge_part(first: int, end: int) -> tuple[Counter[str], list[str]]:
    """How cases ended, and those that did not end right, a line each."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        cases = Cases(Path(folder) / "cases")
        wrong = [line for number in range(first, end) if (line := _wrong(cases.judge, number))]
    return cases.found, wrong


def _wrong(judge: Callable[[int], None], number: int) -> str:
    try:
        with _within(SECONDS):
            judge(number)
    except BaseException as error:  # noqa: BLE001 - it is what is looked for
        return f"case {number}: {type(error).__name__}: {error}"[:300]
    return ""


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done in {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
