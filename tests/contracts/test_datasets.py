"""The data sets under their contract, on tiny sources written here."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dcm import TaskDataset
from dcm.testing.contracts import DatasetContract
from dcm_hotpotqa.hotpotqa import HotpotQa
from dcm_natural_questions.natural_questions import NaturalQuestions
from dcm_puzzles.arc import Arc
from dcm_puzzles.arithmetic import Arithmetic
from dcm_puzzles.sudoku import Sudoku
from dcm_samples.samples import Samples
from dcm_squad.paraphrased import SquadParaphrased
from dcm_squad.squad import Squad
from dcm_tables.csv import Csv
from dcm_tables.json import Json
from dcm_tables.jsonl import Jsonl
from dcm_tables.pairs import Pairs
from dcm_tables.parquet import Parquet
from dcm_tables.tsv import Tsv
from dcm_triviaqa.triviaqa import TriviaQa
from dcm_wrappers.concatenate import Concatenate
from dcm_wrappers.filter_length import FilterLength
from dcm_wrappers.paraphrased import Paraphrased
from dcm_wrappers.sample import Sample
from dcm_wrappers.shuffled import Shuffled

SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
PAIRS = {
    "What colour is the sky?": "blue",
    "Who wrote the letter?": "Ada Marsh",
    "Quelle est la capitale ?": "Orléans",
    "How many legs has a cat?": "4",
}


def write(path: Path, *lines: object) -> str:
    """Write lines, JSON but for texts."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


class TestSquad(DatasetContract):
    covers = "dataset/squad"

    @pytest.fixture(params=[{}, {"seed": 3, "limit": 2, "offset": 1}], ids=["all", "some"])
    def dataset(self, request: pytest.FixtureRequest, tmp_path: Path) -> Squad:
        qas: list[dict[str, object]] = [
            {"id": f"q{number}", "question": question, "answers": [{"text": a, "answer_start": 0}]}
            for number, (question, a) in enumerate(PAIRS.items())
        ]
        qas.append({"id": "none", "question": "Why?", "answers": [], "is_impossible": True})
        article = {"title": "Things", "paragraphs": [{"context": "A passage.", "qas": qas}]}
        path = write(tmp_path / "squad.json", {"version": "v2.0", "data": [article]})
        return Squad(path=path, **request.param)


class TestSquadParaphrased(DatasetContract):
    covers = "dataset/squad-paraphrased"

    @pytest.fixture(params=[{}, {"seed": 3, "limit": 2, "offset": 1}], ids=["all", "some"])
    def dataset(self, request: pytest.FixtureRequest, tmp_path: Path) -> SquadParaphrased:
        def file(name: str, words: str, first_id: int, questions: dict[str, str]) -> str:
            qas = [
                {"id": number, "question": q + words, "answers": [{"text": a, "answer_start": 0}]}
                for number, (q, a) in enumerate(questions.items(), first_id)
            ]
            article = {"title": "Things", "paragraphs": [{"context": "A passage.", "qas": qas}]}
            return write(tmp_path / name, {"data": [article]})

        originals = file("original.json", "", 1, {**PAIRS, "Why?": "so"})
        paraphrases = file("paraphrased.json", " Do say.", 0, PAIRS)
        return SquadParaphrased(originals, paraphrases, **request.param)


class TestTriviaQa(DatasetContract):
    covers = "dataset/triviaqa"

    @pytest.fixture(params=[False, True], ids=["simple", "official"])
    def dataset(self, request: pytest.FixtureRequest, tmp_path: Path) -> TriviaQa:
        if request.param:
            data = [
                {
                    "QuestionId": f"q{number}",
                    "Question": question,
                    "QuestionPartOfVerifiedEval": number != 1,
                    "Answer": {"Value": answer, "Aliases": [answer, f"the {answer}"]},
                }
                for number, (question, answer) in enumerate(PAIRS.items())
            ]
            path = write(tmp_path / "trivia.json", {"Data": data, "Split": "dev"})
            return TriviaQa(path=path, verified=True)
        lines = [
            {"id": f"q{number}", "question": question, "golden_answers": [answer, answer.upper()]}
            for number, (question, answer) in enumerate(PAIRS.items())
        ]
        return TriviaQa(path=write(tmp_path / "trivia.jsonl", *lines))


class TestNaturalQuestions(DatasetContract):
    covers = "dataset/natural-questions"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> NaturalQuestions:
        lines = [
            {"question": question, "answer": [answer, "another"]}
            for question, answer in PAIRS.items()
        ]
        return NaturalQuestions(path=write(tmp_path / "nq.jsonl", *lines, {"question": "why"}))


class TestHotpotQa(DatasetContract):
    covers = "dataset/hotpotqa"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> HotpotQa:
        records = [
            {
                "_id": f"h{number}",
                "question": question,
                "answer": answer,
                "type": "bridge",
                "level": "easy",
                "context": [["A title", ["One. ", "Two."]], ["Another", ["Three."]]],
                "supporting_facts": [["A title", 0]],
            }
            for number, (question, answer) in enumerate([*PAIRS.items(), ("Is it so?", "yes")])
        ]
        return HotpotQa(path=write(tmp_path / "hotpot.json", records))


class TestJsonl(DatasetContract):
    covers = "dataset/jsonl"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Jsonl:
        lines = [
            {"q": question, "a": answer, "n": 5, "other": [question.lower()]}
            for question, answer in PAIRS.items()
        ]
        path = write(tmp_path / "pairs.jsonl", *lines, {"q": "", "a": "x"})
        return Jsonl(path, question="q", answer="a", variants="other", seed=1)


class TestCsv(DatasetContract):
    covers = "dataset/csv"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Csv:
        rows = [
            f'{number},"{question}",{answer},a passage,"{question.lower()}"'
            for number, (question, answer) in enumerate(PAIRS.items())
        ]
        path = write(tmp_path / "pairs.csv", "key,question,answer,passage,other", *rows)
        return Csv(path, id="key", context="passage", variants=["other"])


class TestPairs(DatasetContract):
    covers = "dataset/pairs"

    @pytest.fixture
    def dataset(self) -> Pairs:
        return Pairs(PAIRS)


class TestTsv(DatasetContract):
    covers = "dataset/tsv"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Tsv:
        rows = [f"{question}\t{answer}" for question, answer in PAIRS.items()]
        return Tsv(write(tmp_path / "pairs.tsv", "Question\tAnswer", *rows))


class TestJson(DatasetContract):
    covers = "dataset/json"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Json:
        rows = [{"question": question, "answers": [a, "x"]} for question, a in PAIRS.items()]
        return Json(write(tmp_path / "pairs.json", {"rows": rows}), member="rows")


class TestParquet(DatasetContract):
    covers = "dataset/parquet"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Parquet:
        rows = [{"question": question, "answer": answer} for question, answer in PAIRS.items()]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
        return Parquet(tmp_path / "pairs.parquet", seed=1)


class TestSamples(DatasetContract):
    covers = "dataset/samples"

    @pytest.fixture
    def dataset(self) -> Samples:
        return Samples(limit=20, seed=0)


class TestArithmetic(DatasetContract):
    covers = "dataset/arithmetic"

    @pytest.fixture(params=["generated", "divided", "from a file"])
    def dataset(self, request: pytest.FixtureRequest, tmp_path: Path) -> Arithmetic:
        if request.param == "generated":
            return Arithmetic(count=30, digits=3, seed=5, offset=2)
        if request.param == "divided":
            return Arithmetic(operations="/-", digits=1, count=40)
        lines = [
            {"context": "Q: What is 2 plus 3? A:", "completion": "5"},
            {"question": "Two boxes of 600 each?", "answer": "2 * 600\n#### 1,200", "hard": 1},
        ]
        return Arithmetic(path=write(tmp_path / "sums.jsonl", *lines))


class TestSudoku(DatasetContract):
    covers = "dataset/sudoku"

    @pytest.fixture(params=["solved", "unsolved"])
    def dataset(self, request: pytest.FixtureRequest, tmp_path: Path) -> Sudoku:
        puzzles = ["0" * cells + SOLVED[cells:] for cells in (1, 4, 9)]
        path = write(tmp_path / "puzzles.txt", "// easy ones", *puzzles)
        if request.param == "unsolved":
            return Sudoku(path)
        return Sudoku(path, solutions=write(tmp_path / "solutions.txt", *[SOLVED] * 3), limit=2)


class TestArc(DatasetContract):
    covers = "dataset/arc"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Arc:
        task = {
            "train": [{"input": [[1, 2]], "output": [[2, 1]]}],
            "test": [{"input": [[3, 4], [5, 6]], "output": [[4, 3], [6, 5]]}, {"input": [[7]]}],
        }
        return Arc(write(tmp_path / "mirror.json", task), augment=2)


@pytest.fixture
def pairs(tmp_path: Path) -> Jsonl:
    lines = [{"question": question, "answer": answer} for question, answer in PAIRS.items()]
    return Jsonl(write(tmp_path / "pairs.jsonl", *lines))


class TestConcatenate(DatasetContract):
    covers = "dataset/concatenate"

    @pytest.fixture
    def dataset(self, pairs: Jsonl) -> Concatenate:
        return Concatenate((pairs, Arithmetic(count=3), pairs))  # type: ignore[arg-type]


class TestSample(DatasetContract):
    covers = "dataset/sample"

    @pytest.fixture
    def dataset(self, pairs: Jsonl) -> Sample:
        return Sample(pairs, count=3, seed=1)


class TestParaphrased(DatasetContract):
    covers = "dataset/paraphrased"

    @pytest.fixture
    def dataset(self, pairs: Jsonl, tmp_path: Path) -> Paraphrased:
        lines = [
            {
                "id": example.id,
                "question": example.question,
                "answer": example.answer,
                "question_variants": [f"Well, {example.question}", "Or else?"],
                "answer_variants": [],
            }
            for example in list(pairs)[1:]
        ]
        return Paraphrased(pairs, str(write(tmp_path / "variants.jsonl", *lines)), most=1)


class TestFilterLength(DatasetContract):
    covers = "dataset/filter-length"

    @pytest.fixture
    def dataset(self, pairs: Jsonl) -> FilterLength:
        return FilterLength(pairs, part="answer", max_characters=7)


class TestShuffled(DatasetContract):
    covers = "dataset/shuffled"

    @pytest.fixture
    def dataset(self, pairs: TaskDataset) -> Shuffled:
        return Shuffled(pairs, seed=2)
