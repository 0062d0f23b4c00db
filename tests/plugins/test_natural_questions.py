"""Natural Questions: NQ-open, the simplified layout, TSV, and grading."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DatasetError, Example
from dcm_natural_questions.natural_questions import NaturalQuestions

WORDS = "<P> The capital of France is Paris , a city . </P> <Ul> No more </Ul>"


def span(start: int, end: int) -> dict[str, int]:
    return {"start_token": start, "end_token": end}


def annotation(*spans: Any, verdict: str = "NONE", long: Any = None) -> dict[str, Any]:
    found = {"short_answers": list(spans), "yes_no_answer": verdict}
    return found if long is None else {**found, "long_answer": long}


def simplified(*annotations: Any, id: Any = 123, **fields: Any) -> dict[str, Any]:
    return {
        "example_id": id,
        "question_text": "what is the capital of france",
        "document_text": WORDS,
        "document_url": "https://example.org",
        "annotations": list(annotations),
        **fields,
    }


def written(path: Path, *records: Any) -> str:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in records]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nq.jsonl"


def test_the_open_layout(path: Path) -> None:
    record = {"question": "who sings it", "answer": ["Ann", "Bo", "Ann"]}
    dataset = NaturalQuestions(written(path, record, "", {"question": "what", "answer": ["it"]}))
    assert list(dataset) == [
        Example("nq-000001", "who sings it", "Ann", ("Bo",)),
        Example("nq-000003", "what", "it"),
    ]


def test_questions_without_an_answer_are_left_out(path: Path) -> None:
    records = [
        {"question": "a"},
        {"question": "b", "answer": []},
        {"question": "c", "answer": ["d"]},
    ]
    dataset = NaturalQuestions(written(path, *records))
    assert [example.id for example in dataset] == ["nq-000003"]
    assert dataset.skipped == {"without an answer": 2}


def test_the_tsv_layout(path: Path) -> None:
    dataset = NaturalQuestions(written(path, "who\t['Ann', \"O'Bo\"]", '"what"\t"[\'a\', ""b""]"'))
    assert [(each.id, each.answer, each.aliases) for each in dataset] == [
        ("nq-000001", "Ann", ("O'Bo",)),
        ("nq-000002", "a", ("b",)),
    ]


def test_answers_printed_as_an_array_are_several(path: Path) -> None:
    lines = [
        "who\t['Ann' \"O'Bo\"]",
        "a\t['x, ' 'y' '1\\' 2']",
        "b\t['it\\'s' ]",
        "c\t['x', 'y' 'z']",
    ]
    dataset = NaturalQuestions(written(path, *lines))
    assert [(each.answer, *each.aliases) for each in dataset] == [
        ("Ann", "O'Bo"),
        ("x, ", "y", "1' 2"),
        ("it's",),
        ("x", "y", "z"),
    ]


def test_the_simplified_layout(path: Path) -> None:
    record = simplified(
        annotation(long=span(-1, -1)),
        annotation(span(6, 7), span(8, 10), long=span(0, 12)),
        annotation(span(6, 7), long=span(12, 16)),
    )
    assert list(NaturalQuestions(written(path, record))) == [
        Example(
            "123",
            "what is the capital of france",
            "Paris",
            ("a city",),
            context="The capital of France is Paris , a city .",
        )
    ]


def test_tags_are_no_part_of_an_answer(path: Path) -> None:
    example = NaturalQuestions(written(path, simplified(annotation(span(9, 15)))))[0]
    assert (example.answer, example.context) == ("city . No more", None)


def test_yes_and_no_are_answers(path: Path) -> None:
    records = [
        simplified(annotation(verdict="YES"), annotation(verdict="NO"), id=1),
        simplified(annotation(span(6, 7), verdict="YES"), id=2),
        simplified(annotation(), id=3),
        simplified(annotation(span(0, 1)), id=4),
    ]
    dataset = NaturalQuestions(written(path, *records))
    assert [(each.id, each.answer, each.aliases) for each in dataset] == [
        ("1", "yes", ("no",)),
        ("2", "Paris", ()),
    ]
    assert dataset.skipped == {"without an answer": 2}


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "nq.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(simplified(annotation(span(6, 7)))).encode()))
    assert [each.answer for each in NaturalQuestions(str(path))] == ["Paris"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": "a", "answer": "b"}, "field 'answer' must be a list of texts"),
        ({"question": 1, "answer": []}, "field 'question' must be str"),
        ({"query": "a", "answer": ["b"]}, "field 'question' is missing. It has 'query', 'answer'"),
        ([1], "an object is expected, not list"),
        (
            simplified(annotation(span(6, 99))),
            r"short_answers\[0\]: there is no span 6:99. .* 16 tok",
        ),
        (simplified(annotation(span(7, 6))), "there is no span 7:6"),
        (simplified(annotation({"start_token": 1})), "field 'end_token' is missing"),
        (simplified(annotation(span("a", 2))), "field 'start_token' must be int"),  # type: ignore[arg-type]
        (simplified(annotation(span(6, 7), long=[])), "field 'long_answer' must be dict"),
        (simplified("x"), r"\(id '123'\)\.annotations\[0\]: an object is expected"),
        (simplified(annotation(), document_text=None), "field 'document_text' must be str"),
        (simplified(annotation(), id=None), "field 'example_id'"),
        ("{broken", "the line is no JSON"),
    ],
)
def test_malformed_records_are_named_or_skipped(path: Path, record: Any, message: str) -> None:
    good = {"question": "a", "answer": ["b"]}
    written(path, good, record)
    with pytest.raises(DatasetError, match=rf"nq\.jsonl:2.*{message}"):
        len(NaturalQuestions(str(path)))
    dataset = NaturalQuestions(str(path), on_error="skip")
    assert len(dataset) == 1
    assert dataset.skipped == {"malformed": 1}


def test_ids_do_not_depend_on_the_choice(path: Path) -> None:
    written(path, *({"question": f"q{i}", "answer": ["a"]} for i in range(1, 20)))
    for choice in ({}, {"seed": 3}, {"limit": 4, "offset": 5}, {"limit": 4, "seed": 5}):
        for example in NaturalQuestions(str(path), **choice):  # type: ignore[arg-type]
            assert example.id == f"nq-{int(example.question[1:]):06}"


@pytest.mark.parametrize(
    ("text", "exact_match", "f1"),
    [
        ("the José!", 1.0, 1.0),
        ("Jose\u0301", 1.0, 1.0),  # the same letter, written as two characters
        ("Jose", 0.0, 0.0),
        ("a Bob Lee Jones", 0.0, 2 * 2 / (3 + 2)),
    ],
)
def test_grades(text: str, exact_match: float, f1: float) -> None:
    example = Example("nq-000001", "who", "José", ("Bob Lee",))
    assert NaturalQuestions("a").grade(example, text) == {"exact_match": exact_match, "f1": f1}


def test_the_hub_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        assert (name, config, split) == ("nq_open", None, "validation")
        assert streaming is False  # a shuffle needs the whole split
        return [{"question": f"q{i}", "answer": ["a", "b"]} for i in range(5)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    dataset = NaturalQuestions(hub="nq_open", seed=0, limit=2)
    assert len(dataset) == 2
    for example in dataset:
        assert example.id == f"nq-{int(example.question[1:]):06}"
        assert (example.answer, example.aliases) == ("a", ("b",))


def test_the_serial_form_gives_it_back() -> None:
    dataset = NaturalQuestions("NQ-open.dev.jsonl", limit=3, offset=1, seed=1)
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("nq_open/NQ-open.dev.jsonl", 3610),
        ("nq_open/NQ-open.efficientqa.dev.1.1.jsonl", 1800),
        ("dpr/topics.nq.dev.txt", 8757),
        ("dpr/topics.dpr.nq.dev.txt", 8757),
    ],
)
def test_real_files_have_the_counts_of_their_source(data: Path, file: str, count: int) -> None:
    dataset = NaturalQuestions(str(data / "natural_questions" / file))
    assert len(dataset) == count
    assert dataset.skipped == {}
    assert dataset[count - 1].id == f"nq-{count:06}"


def test_a_real_file_without_answers(data: Path) -> None:
    file = "NQ-open.efficientqa.dev.1.1.no-annotations.jsonl"
    with pytest.raises(DatasetError, match="1800 without an answer"):
        len(NaturalQuestions(str(data / "natural_questions" / "nq_open" / file)))
