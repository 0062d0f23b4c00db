"""Every bundled data set, from its file to a graded summary, on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dcm import Experiment, Generator, Plugins, TaskDataset, find
from dcm.testing.doubles import save_tiny_model

PAIRS = {"One and one?": "two", "Hot or cold?": "hot"}
SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
STEPS = 80
Made = tuple[dict[str, Any], dict[str, int]]


def _lines(path: Path, *lines: object) -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return str(path)


def _samples(folder: Path) -> Made:
    return {"limit": 2}, {}


def _squad(folder: Path) -> Made:
    questions: list[dict[str, object]] = [
        {"id": answer, "question": question, "answers": [{"text": answer, "answer_start": 0}]}
        for question, answer in PAIRS.items()
    ]
    questions.append({"id": "none", "question": "Why?", "answers": [], "is_impossible": True})
    article = {"title": "Things", "paragraphs": [{"context": "A passage.", "qas": questions}]}
    path = _lines(folder / "squad.json", {"version": "v2.0", "data": [article]})
    return {"path": path}, {"unanswerable": 1}


def _squad_paraphrased(folder: Path) -> Made:
    fields, left_out = _squad(folder)
    document = json.loads(Path(fields["path"]).read_text(encoding="utf-8"))
    document["data"][0]["paragraphs"][0]["qas"].append({"id": "last", "question": "Where?"})
    paraphrases = _lines(folder / "paraphrased.json", document)
    return fields | {"paraphrases": paraphrases}, left_out | {"without an original": 1}


def _triviaqa(folder: Path) -> Made:
    data: list[dict[str, object]] = [
        {"QuestionId": answer, "Question": question, "Answer": {"Value": answer, "Aliases": []}}
        for question, answer in PAIRS.items()
    ]
    data.append({"QuestionId": "test", "Question": "Why?"})
    path = _lines(folder / "trivia.json", {"Data": data, "Split": "dev"})
    return {"path": path}, {"without an answer": 1}


def _natural_questions(folder: Path) -> Made:
    lines = [{"question": question, "answer": [answer]} for question, answer in PAIRS.items()]
    return {"path": _lines(folder / "nq.jsonl", *lines)}, {}


def _hotpotqa(folder: Path) -> Made:
    rest = {"type": "bridge", "level": "easy", "supporting_facts": [["A title", 0]]}
    records = [
        {"_id": answer, "question": question, "answer": answer, "context": [["A title", ["One."]]]}
        for question, answer in PAIRS.items()
    ]
    return {"path": _lines(folder / "hotpot.json", [each | rest for each in records])}, {}


def _arithmetic(folder: Path) -> Made:
    return {"count": 2}, {}


def _sudoku(folder: Path) -> Made:
    puzzles = ["0" * cells + SOLVED[cells:] for cells in (1, 4)]
    solutions = _lines(folder / "solutions.txt", SOLVED, SOLVED)
    path = _lines(folder / "puzzles.txt", "// easy ones", *puzzles)
    return {"path": path, "solutions": solutions}, {"comment line": 1}


def _arc(folder: Path) -> Made:
    task = {
        "train": [{"input": [[1, 2]], "output": [[2, 1]]}],
        "test": [{"input": [[3, 4]], "output": [[4, 3]]}, {"input": [[7]]}],
    }
    return {"path": _lines(folder / "mirror.json", task), "augment": 1}, {"hidden output": 1}


def _csv(folder: Path) -> Made:
    rows = [f'"{question}",{answer}' for question, answer in PAIRS.items()]
    path = _lines(folder / "pairs.csv", "question,answer", *rows, "Why?,")
    return {"path": path}, {"without an answer": 1}


def _jsonl(folder: Path) -> Made:
    lines = [{"q": question, "a": answer} for question, answer in PAIRS.items()]
    path = _lines(folder / "pairs.jsonl", *lines, {"q": "", "a": "x"})
    return {"path": path, "question": "q", "answer": "a"}, {"without a question": 1}


def _tsv(folder: Path) -> Made:
    rows = [f"{question}\t{answer}" for question, answer in PAIRS.items()]
    path = _lines(folder / "pairs.tsv", "question\tanswer", *rows, "Why?\t")
    return {"path": path}, {"without an answer": 1}


def _pairs(folder: Path) -> Made:
    return {"pairs": [list(pair) for pair in PAIRS.items()]}, {}


def _json(folder: Path) -> Made:
    rows = [{"question": question, "answer": answer} for question, answer in PAIRS.items()]
    return {"path": _lines(folder / "pairs.json", json.dumps(rows))}, {}


def _parquet(folder: Path) -> Made:
    rows = [{"question": question, "answer": answer} for question, answer in PAIRS.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
    return {"path": str(folder / "pairs.parquet")}, {}


CASES: dict[str, Callable[[Path], Made]] = {
    "samples": _samples,
    "squad": _squad,
    "squad-paraphrased": _squad_paraphrased,
    "triviaqa": _triviaqa,
    "natural-questions": _natural_questions,
    "hotpotqa": _hotpotqa,
    "arithmetic": _arithmetic,
    "sudoku": _sudoku,
    "arc": _arc,
    "csv": _csv,
    "jsonl": _jsonl,
    "tsv": _tsv,
    "pairs": _pairs,
    "json": _json,
    "parquet": _parquet,
}
"""name -> its fields for two examples, and what it leaves out"""


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    found = find("generator", "transformers")(model=str(folder), device="cpu")
    assert isinstance(found, Generator)
    return found


@pytest.mark.parametrize("name", CASES)
def test_two_examples_of_a_set_end_with_a_graded_summary(
    name: str, generator: Generator, tmp_path: Path
) -> None:
    fields, left_out = CASES[name](tmp_path)
    dataset: TaskDataset = find("dataset", name)(**fields)
    optimizer = find("optimizer", "adam")()
    experiment = Experiment(generator, dataset, optimizer=optimizer, slots=16, max_steps=STEPS)
    summary = experiment.run(tmp_path / "run")

    assert summary["finished"] == summary["examples"] == 2
    assert summary["skipped"] == left_out
    assert summary["failed_reasons"] == {}
    lines = (tmp_path / "run" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    results = {result["id"]: result for result in map(json.loads, lines)}
    for example in dataset:
        result = results[example.id]
        found = result["evaluations"]["task"]
        assert found == dataset.grade(example, result["decoded"]["answer"])
        if result["certified"]:
            assert set(found.values()) == {1.0}
    best = dataset.grade(dataset[0], dataset[0].answer)
    assert summary["evaluations"]["task"].keys() == best.keys()
    if name not in ("sudoku", "samples"):  # long texts for forty steps on two layers
        assert summary["certified_rate"] == 1.0


def test_no_set_is_forgotten() -> None:
    own = Plugins.installed().all("dataset")
    made_of_others = {
        each.name
        for each in own
        if {"dataset", "datasets"} & {field.name for field in attrs.fields(each.load())}
    }
    bundled = {each.name for each in own if each.distribution == "dynamic-context-memory"}
    assert bundled - made_of_others == set(CASES)
