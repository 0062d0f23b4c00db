"""HotpotQA: its layouts, supporting paragraphs, and grading as the official script does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DatasetError, Example
from dcm_hotpotqa.hotpotqa import HotpotQa

PLAIN = {"question": "Which is older?", "answer": "Rome", "type": "comparison"}
OFFICIAL = {
    "_id": "5a8b",
    "level": "hard",
    **PLAIN,
    "supporting_facts": [["Rome", 0], ["Bonn", 1], ["Rome", 1], ["Elsewhere", 0]],
    "context": [
        ["Bonn", ["Bonn is a city.", " It is old."]],
        ["Oslo", ["Oslo is a city."]],
        ["Rome", ["Rome is older.", " It has hills."]],
    ],
}
HUB = {
    **OFFICIAL,
    "supporting_facts": {"title": ["Rome", "Bonn"], "sent_id": [0, 1]},
    "context": {
        "title": ["Bonn", "Rome"],
        "sentences": [["Bonn is a city.", " It is old."], ["Rome is older.", " It has hills."]],
    },
}
EXPECTED = Example(
    "5a8b",
    "Which is older?",
    "Rome",
    context="Rome is older. It has hills.\nBonn is a city. It is old.",
    metadata={"type": "comparison", "level": "hard"},
)


def written(path: Path, *records: Any) -> str:
    path.write_text(json.dumps(list(records)))
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hotpot.json"


@pytest.mark.parametrize("record", [OFFICIAL, HUB], ids=["official", "hub"])
def test_a_record_becomes_an_example(path: Path, record: Any) -> None:
    assert list(HotpotQa(written(path, record))) == [EXPECTED]


def test_records_without_id_get_their_index(path: Path) -> None:
    without = {key: value for key, value in HUB.items() if key != "_id"}
    examples = list(HotpotQa(written(path, without, without)))
    assert [example.id for example in examples] == ["hotpotqa-000000", "hotpotqa-000001"]
    assert examples[1].context == EXPECTED.context


def test_a_question_and_an_answer_are_enough(path: Path) -> None:
    assert list(HotpotQa(written(path, PLAIN))) == [
        Example("hotpotqa-000000", "Which is older?", "Rome", metadata={"type": "comparison"})
    ]


def test_jsonl(path: Path) -> None:
    path.write_text(f"{json.dumps(OFFICIAL)}\n{json.dumps(PLAIN)}\n")
    assert [example.id for example in HotpotQa(str(path))] == ["5a8b", "hotpotqa-000002"]


def test_fullwiki_may_lack_every_supporting_paragraph(path: Path) -> None:
    record = {**OFFICIAL, "context": [["Oslo", ["Oslo is a city."]]]}
    assert HotpotQa(written(path, record))[0].context is None


def test_withheld_answers_are_left_out(path: Path) -> None:
    withheld = {"_id": "a", "question": "Which?", "context": []}
    dataset = HotpotQa(written(path, withheld, {**withheld, "answer": None}, OFFICIAL))
    assert [example.id for example in dataset] == ["5a8b"]
    assert dataset.skipped == {"without an answer": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "field 'question' must be str"),
        ({"answer": 5}, r"\(id '5a8b'\): field 'answer' must be str or NoneType"),
        ({"type": 5}, "field 'type' must be str"),
        ({"_id": ""}, "field '_id' must be an id"),
        ({"supporting_facts": "Rome"}, "field 'supporting_facts' must be list or dict"),
        ({"supporting_facts": [["Rome"]]}, r"supporting_facts\[0\]: a title and its sent_id"),
        ({"supporting_facts": {"title": []}}, r"supporting_facts: field 'sent_id' is missing"),
        ({"supporting_facts": {"title": ["a"], "sent_id": []}}, "the record is malformed"),
        ({"context": [[1, []]]}, r"context\[0\]: a title and its sentences"),
        ({"context": [["Rome", "text"]]}, "paragraph 'Rome' must be a list of texts"),
        ({"context": [["Rome", [1]]]}, "paragraph 'Rome' must be a list of texts"),
    ],
)
def test_malformed_records_are_named_or_skipped(path: Path, change: Any, message: str) -> None:
    written(path, {**PLAIN, "_id": "good"}, {**OFFICIAL, **change})
    with pytest.raises(DatasetError, match=rf"hotpot\.json: \[1\].*{message}"):
        len(HotpotQa(str(path)))
    dataset = HotpotQa(str(path), on_error="skip")
    assert [example.id for example in dataset] == ["good"]
    assert dataset.skipped == {"malformed": 1}


@pytest.mark.parametrize(
    ("answer", "text", "exact_match", "f1"),
    [
        ("the Chief of Protocol", "Chief of Protocol", 1.0, 1.0),
        ("Chief of Protocol", "Protocol officer", 0.0, 2 * 1 / (2 + 3)),
        ("yes", "Yes.", 1.0, 1.0),
        ("yes", "yes it is", 0.0, 0.0),  # 1 word of 3 is shared, but yes is all or nothing
        ("no doubt", "no", 0.0, 0.0),
        ("noanswer", "no answer", 0.0, 0.0),
        ("no doubt", "no fear", 0.0, 0.5),
    ],
)
def test_grades(answer: str, text: str, exact_match: float, f1: float) -> None:
    grades = HotpotQa("a").grade(Example("x", "Which?", answer), text)
    assert grades == {"exact_match": exact_match, "f1": f1}


def test_the_hub_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        assert (name, config, split, streaming) == ("hotpot_qa", "distractor", "train", True)
        return [{"id" if key == "_id" else key: value for key, value in HUB.items()}]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    dataset = HotpotQa(hub="hotpot_qa", config="distractor", split="train", limit=5)
    assert list(dataset) == [EXPECTED]


def test_the_serial_form_gives_it_back() -> None:
    dataset = HotpotQa("hotpot_dev_distractor_v1.json", limit=3, offset=1, seed=1)
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize(
    ("file", "count", "has_context"),
    [
        ("official_layout/hotpot_dev_distractor_v1_100.json", 103, True),
        ("official_layout/hotpotqa_100.json", 100, True),
        ("hf_layout/hotpot_dev_distractor_v1.json", 100, True),
        ("react/hotpot_dev_v1_simplified.json", 7405, False),
    ],
)
def test_real_files_have_the_counts_of_their_source(
    data: Path, file: str, count: int, has_context: bool
) -> None:
    dataset = HotpotQa(str(data / "hotpotqa" / file))
    assert len(dataset) == count
    assert dataset.skipped == {}
    assert all((example.context is not None) == has_context for example in dataset)
    assert {example.metadata["type"] for example in dataset} == {"bridge", "comparison"}


def test_the_two_real_layouts_agree(data: Path) -> None:
    folder = data / "hotpotqa"
    official = HotpotQa(str(folder / "official_layout" / "hotpot_dev_distractor_v1_100.json"))
    hub = HotpotQa(str(folder / "hf_layout" / "hotpot_dev_distractor_v1.json"))
    for one, other in zip(list(official)[:100], hub, strict=True):
        assert (one.question, one.answer, one.metadata) == (
            other.question,
            other.answer,
            other.metadata,
        )
        assert one.context == other.context
