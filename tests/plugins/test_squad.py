"""SQuAD: the official layouts, what is left out, grading and the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DatasetError, Example
from dcm_squad.squad import Squad


def qa(id: Any = "q1", **fields: Any) -> dict[str, Any]:
    answers = [{"text": text, "answer_start": 0} for text in ("Paris", "the city Paris", "Paris")]
    return {"id": id, "question": "What is the capital?", "answers": answers, **fields}


def squad(path: Path, *qas: Any, **fields: Any) -> Squad:
    article = {"title": "France", "paragraphs": [{"context": "Paris is it.", "qas": list(qas)}]}
    path.write_text(json.dumps({"data": [article]}))
    return Squad(path=str(path), **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "squad.json"


def test_a_record_becomes_an_example(path: Path) -> None:
    assert list(squad(path, qa())) == [
        Example(
            "q1",
            "What is the capital?",
            "Paris",
            ("the city Paris",),
            context="Paris is it.",
            metadata={"title": "France"},
        )
    ]


def test_the_title_may_be_missing_and_ids_may_be_numbers(path: Path) -> None:
    paragraph = {"context": "c", "qas": [qa(12)]}
    path.write_text(json.dumps({"version": "v2.0", "data": [{"paragraphs": [paragraph]}]}))
    example = Squad(str(path))[0]
    assert (example.id, dict(example.metadata)) == ("12", {})


def test_unanswerable_questions_are_left_out_and_counted(path: Path) -> None:
    dataset = squad(
        path,
        qa("impossible", is_impossible=True, plausible_answers=[]),
        qa("withheld", answers=[]),
        qa("blank", answers=[{"text": " ", "answer_start": 0}]),
        qa("null", answers=None),
        {"id": "without", "question": "What is the capital?"},
        qa("usable", is_impossible=False),
    )
    assert [example.id for example in dataset] == ["usable"]
    assert dataset.skipped == {"unanswerable": 5}


def test_where_an_answer_begins_may_be_left_out(path: Path) -> None:
    assert squad(path, qa(answers=[{"text": "Paris"}]))[0].answer == "Paris"


def test_a_set_of_withheld_answers_tells_the_counts(path: Path) -> None:
    with pytest.raises(DatasetError, match=r"empty\. 0 usable .* left out: 2 unanswerable"):
        len(squad(path, qa("a", answers=[]), qa("b", answers=[])))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            qa(question=5),
            r"data\[0\]\.paragraphs\[0\]\.qas\[0\] \(id 'q1'\): field 'question' must",
        ),
        (qa(answers="x"), r"qas\[0\] \(id 'q1'\): field 'answers' must be list"),
        (qa(answers=[{"answer": "x"}]), r"id 'q1'\)\.answers\[0\]: field 'text' is missing"),
        (qa(answers=[{"text": 1, "answer_start": 0}]), r"answers\[0\]: field 'text' must be str"),
        (qa(answers=["x"]), r"answers\[0\]: an object is expected, not str"),
        (qa(is_impossible="no"), "field 'is_impossible' must be bool"),
        (qa(id=None), r"qas\[0\]: field 'id' must be str or int"),
        ("text", r"qas\[0\]: an object is expected, not str"),
        ({"question": "x"}, "field 'id' is missing"),
    ],
)
def test_malformed_records_are_named_or_skipped(path: Path, record: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"squad\.json: .*{message}"):
        len(squad(path, record, qa("good")))
    dataset = squad(path, record, qa("good"), on_error="skip")
    assert [example.id for example in dataset] == ["good"]
    assert dataset.skipped == {"malformed": 1}


@pytest.mark.parametrize(
    ("article", "message"),
    [
        ({"title": "T"}, r"data\[1\]: field 'paragraphs' is missing"),
        ({"title": 1, "paragraphs": []}, r"data\[1\]: field 'title' must be str"),
        ({"paragraphs": [{"qas": []}]}, r"data\[1\]\.paragraphs\[0\]: field 'context' is missing"),
        ([], r"data\[1\]: an object is expected"),
    ],
)
def test_malformed_articles_are_named_or_skipped(path: Path, article: Any, message: str) -> None:
    good = {"title": "T", "paragraphs": [{"context": "c", "qas": [qa()]}]}
    path.write_text(json.dumps({"data": [good, article]}))
    with pytest.raises(DatasetError, match=message):
        len(Squad(str(path)))
    dataset = Squad(str(path), on_error="skip")
    assert len(dataset) == 1
    assert dataset.skipped == {"malformed": 1}


def test_limit_offset_and_seed(path: Path) -> None:
    qas = [qa(f"q{i}") for i in range(9)]
    assert [each.id for each in squad(path, *qas, limit=2, offset=3)] == ["q3", "q4"]
    shuffled = [each.id for each in squad(path, *qas, seed=4)]
    assert sorted(shuffled) == [f"q{i}" for i in range(9)]
    assert shuffled != sorted(shuffled)
    assert [each.id for each in squad(path, *qas, seed=4, limit=3, offset=2)] == shuffled[2:5]


@pytest.mark.parametrize("index", [1, 7, -1])
def test_an_index_out_of_range(path: Path, index: int) -> None:
    with pytest.raises(IndexError):
        squad(path, qa())[index]


def test_grades_are_those_of_the_official_script(path: Path) -> None:
    dataset = squad(path, qa())
    assert dataset.grade(dataset[0], "The PARIS!") == {"exact_match": 1.0, "f1": 1.0}
    # "city of Paris" has 3 words, the alias "the city Paris" has 2 without its article, 2 shared
    assert dataset.grade(dataset[0], "city of Paris") == {"exact_match": 0.0, "f1": 2 * 2 / 5}
    assert dataset.grade(dataset[0], "Lyon") == {"exact_match": 0.0, "f1": 0.0}
    assert dataset.grade(dataset[0], "") == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "dev.json"},
        {"path": "dev.json", "limit": 5, "offset": 2, "seed": 3, "on_error": "skip"},
        {"hub": "rajpurkar/squad_v2", "config": "squad_v2", "split": "train"},
    ],
)
def test_the_serial_form_gives_it_back_without_reading(fields: dict[str, Any]) -> None:
    dataset = Squad(**fields)
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"path": "a", "hub": "b"},
        {"path": "a", "limit": 0},
        {"path": "a", "limit": "ten"},
        {"path": "a", "offset": -1},
        {"path": "a", "seed": "x"},
        {"path": "a", "on_error": "ignore"},
        {"path": 5},
    ],
)
def test_fields_out_of_range_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(dcm.UsageError, match="'squad' cannot be built"):
        dcm.build({"kind": "dataset", "name": "squad", "params": params})


def test_a_path_object_is_kept_as_text(path: Path) -> None:
    assert Squad(path) == Squad(str(path))


def test_the_hub_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        asked.append((name, config, split, streaming))
        shared = {"title": "France", "context": "c", "question": "Which city?"}
        answers = {"text": ["Paris", "Paris", "Lyon"], "answer_start": [0, 0, 4]}
        yield {"id": "a", "answers": answers, **shared}
        yield {"id": "b", "answers": {"text": [], "answer_start": []}, **shared}
        yield {"id": "c", "answers": {"text": "x"}, **shared}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    dataset = Squad(hub="rajpurkar/squad_v2", split="train", limit=1)
    assert list(dataset) == [
        Example("a", "Which city?", "Paris", ("Lyon",), context="c", metadata={"title": "France"})
    ]
    assert asked == [("rajpurkar/squad_v2", None, "train", True)]
    with pytest.raises(DatasetError, match=r"rajpurkar/squad_v2\[validation\] record 2"):
        len(Squad(hub="rajpurkar/squad_v2"))
    skipping = Squad(hub="rajpurkar/squad_v2", on_error="skip")
    assert len(skipping) == 1
    assert skipping.skipped == {"unanswerable": 1, "malformed": 1}


@pytest.mark.parametrize(
    ("file", "examples", "unanswerable"),
    [
        ("squad_v2/dev-v2.0.json", 6078 - 3168, 3168),
        ("squad_v2/dev-v2.0.official_ids.part.json", 1407 - 702, 702),
        ("squad_v2/train-v2.0.part.json", 4719 - 348, 348),
        ("squad_v2/squad_v1.1_dev.part_super_bowl.json", 810, 0),
        ("squad_v2/squad_v1.1_train.part.json", 4370, 0),
        ("squad_paraphrased/dev_orig.json", 1062, 0),
        ("squad_paraphrased/dev_para.json", 1062, 0),
    ],
)
def test_real_files_have_the_counts_of_their_source(
    data: Path, file: str, examples: int, unanswerable: int
) -> None:
    dataset = Squad(str(data / file))
    assert len(dataset) == examples
    assert sum(dataset.skipped.values()) == unanswerable
    # Offsets of these files are right, so that every answer stands in its context.
    assert all(example.answer in (example.context or "") for example in dataset)


def test_a_real_test_set_has_no_answers(data: Path) -> None:
    with pytest.raises(DatasetError, match="5915 unanswerable"):
        len(Squad(str(data / "squad_v2" / "test-v2.0.json")))
