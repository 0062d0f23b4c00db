"""TriviaQA: its layouts, the verified part, and grading as the official script does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DatasetError, Example
from dcm_triviaqa.triviaqa import TriviaQa, normalise

ANSWER = {
    "Value": "The Nile",
    "Aliases": ["Nile", "The Nile", "River_Nile"],
    "NormalizedAliases": ["nile", "river nile"],
}


def official(id: str = "tc_1", **fields: Any) -> dict[str, Any]:
    return {"QuestionId": id, "Question": "Which river is longest?", "Answer": ANSWER, **fields}


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("keys", [["Data", "Domain"], ["Domain", "Data"], ["Other", "Data"]])
def test_the_official_layout(tmp_path: Path, indent: int | None, keys: list[str]) -> None:
    document = {key: [official()] if key == "Data" else "Web" for key in keys}
    if "Other" in keys and indent is None:
        document = {"Version": 1.0, **document}
    path = written(tmp_path / "web-dev.json", json.dumps(document, indent=indent))
    assert list(TriviaQa(path)) == [
        Example("tc_1", "Which river is longest?", "The Nile", ("Nile", "River_Nile"))
    ]


def test_human_answers_are_accepted_too(tmp_path: Path) -> None:
    record = official(Answer={**ANSWER, "HumanAnswers": ["Nile river", "Nile"]})
    dataset = TriviaQa(written(tmp_path / "a.json", {"Data": [record]}))
    assert dataset[0].aliases == ("Nile", "River_Nile", "Nile river")


def test_missing_human_answers_and_aliases_are_none(tmp_path: Path) -> None:
    record = official(Answer={**ANSWER, "HumanAnswers": None, "Aliases": None})
    assert TriviaQa(written(tmp_path / "a.json", {"Data": [record]}))[0].aliases == ()


@pytest.mark.parametrize("choice", [{}, {"limit": 2}, {"seed": 1}, {"seed": 1, "limit": 2}])
def test_a_question_repeated_for_other_evidence_is_read_once(
    tmp_path: Path, choice: dict[str, Any]
) -> None:
    def record(id: str, evidence: str) -> str:
        answer = {"value": "Nile", "aliases": []}
        found = {"question": f"{id}?", "question_id": id, "answer": answer, "source": evidence}
        return json.dumps(found)

    rows = [record("a", "web"), record("a", "wiki"), record("b", "web"), record("a", "web")]
    dataset = TriviaQa(written(tmp_path / "a.jsonl", "\n".join(rows)), **choice)
    assert sorted(example.id for example in dataset) == ["a", "b"]
    if "limit" not in choice:
        assert dataset.skipped == {"repeated": 2}


def test_one_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    records = [official(), official(Question="Which river is shortest?")]
    with pytest.raises(DatasetError, match="id 'tc_1' occurs twice"):
        len(TriviaQa(written(tmp_path / "a.json", {"Data": records})))


def test_the_verified_part(tmp_path: Path) -> None:
    marks = {"tc_1": True, "tc_2": False}
    records = [official(id, QuestionPartOfVerifiedEval=mark) for id, mark in marks.items()]
    path = written(tmp_path / "a.json", {"Data": [*records, official("tc_3")]})
    assert len(TriviaQa(path)) == 3
    verified = TriviaQa(path, verified=True)
    assert [example.id for example in verified] == ["tc_1"]
    assert verified.skipped == {"not verified": 2}


def test_withheld_answers_are_left_out(tmp_path: Path) -> None:
    withheld = {key: value for key, value in official("tc_2").items() if key != "Answer"}
    dataset = TriviaQa(written(tmp_path / "a.json", {"Data": [withheld, official()]}))
    assert [example.id for example in dataset] == ["tc_1"]
    assert dataset.skipped == {"without an answer": 1}


HUB = {
    "question": "Which river is longest?",
    "question_id": "tc_1",
    "answer": {"value": "Nile", "aliases": ["The Nile", "Nile"]},
}
MOSAIC = {
    "context": "Question: Which river is longest?\nAnswer:",
    "answer": "Nile",
    "aliases": ["The Nile", "Nile"],
}
FLASHRAG = {
    "id": "t1",
    "question": "Which river is longest?",
    "golden_answers": ["Nile", "The Nile"],
}
TSV = 'Which river is longest?\t"[\'Nile\', ""The Nile""]"\n'


@pytest.mark.parametrize(
    ("content", "id"),
    [
        (json.dumps(HUB), "tc_1"),
        (json.dumps([HUB]), "tc_1"),
        (json.dumps(MOSAIC), "triviaqa-000001"),
        (json.dumps(FLASHRAG), "t1"),
        (TSV, "triviaqa-000001"),
    ],
    ids=["hub-jsonl", "hub-list", "mosaic", "flashrag", "tsv"],
)
def test_the_other_layouts(tmp_path: Path, content: str, id: str) -> None:
    dataset = TriviaQa(written(tmp_path / "a.txt", content))
    assert list(dataset) == [Example(id, "Which river is longest?", "Nile", ("The Nile",))]


def test_ids_by_line_do_not_depend_on_the_choice(tmp_path: Path) -> None:
    lines = [f"question {i}?\t['answer {i}']" for i in range(1, 7)]
    path = written(tmp_path / "a.txt", "\n".join([*lines[:3], "", *lines[3:]]))
    ids = {example.question: example.id for example in TriviaQa(path)}
    assert ids["question 4?"] == "triviaqa-000005"
    for choice in ({"seed": 1}, {"offset": 2, "limit": 2}, {"seed": 2, "limit": 3}):
        for example in TriviaQa(path, **choice):  # type: ignore[arg-type]
            assert ids[example.question] == example.id


@pytest.mark.parametrize(
    ("line", "question", "answers"),
    [
        ('"""Who"" sang it?"\t[\'a\']', '"Who" sang it?', ("a",)),
        ('"Who" sang "it"\t[\'a\']', '"Who" sang "it"', ("a",)),
        ("who\t[\"O'Connor\", 'a\\tb']", "who", ("O'Connor", "a\tb")),
        ("who\tsang\t['\\d']", "who\tsang", ("\\d",)),
    ],
)
def test_quoting_in_tsv(tmp_path: Path, line: str, question: str, answers: tuple[str, ...]) -> None:
    example = TriviaQa(written(tmp_path / "a.txt", line))[0]
    assert (example.question, (example.answer, *example.aliases)) == (question, answers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"Data": [official(Question=1)]},
            r"Data\[0\] \(id 'tc_1'\): field 'Question' must be str",
        ),
        ({"Data": [official(Answer="Nile")]}, r"\(id 'tc_1'\): field 'Answer' must be dict"),
        ({"Data": [official(Answer={"Value": "x"})]}, "field 'Aliases' is missing"),
        ({"Data": ["x"]}, r"a\.json: Data\[0\]: an object is expected"),
        ({"Data": [{"Question": "x"}]}, "field 'QuestionId' is missing"),
        ({**HUB, "answer": {"value": 1}}, r"a\.json:1 \(id 'tc_1'\): field 'value' must be str"),
        ({**MOSAIC, "aliases": [1]}, r"a\.json:1: field 'aliases' must be a list of texts"),
        ({**FLASHRAG, "id": None}, r"a\.json:1: field 'id'"),
        ({"question": "x"}, r"a\.json:1: field 'answer' is missing"),
        ("who\n", r"a\.json:1: the line has no tab"),
        ("who\t['a'\n", r"a\.json:1: the answers are no list of texts"),
        ("who\t" + "[" * 10_000, r"a\.json:1: the answers are no list of texts"),
        ("who\t'a'\n", r"a\.json:1: field 'answers' must be a list of texts"),
        ("who\t{[]: 1}\n", r"a\.json:1: the answers are no list of texts"),
    ],
)
def test_malformed_records_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        len(TriviaQa(written(tmp_path / "a.json", content)))


def test_another_document_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", json.dumps({"predictions": {"tc_1": "x"}}, indent=1))
    with pytest.raises(DatasetError, match=r"a list 'Data' .* It has the members 'predictions'"):
        len(TriviaQa(path))


def test_normalisation_puts_spaces_for_punctuation() -> None:
    # Worked by hand from normalize_answer of the official script.
    text = "The_Rolling-Stones\u2019 `best\u00b4 of (a) U.S. tour!"
    assert normalise(text) == "rolling stones best of u s tour"


@pytest.mark.parametrize(
    ("text", "exact_match", "f1"),
    [
        ("the river-nile.", 1.0, 1.0),
        ("nile", 1.0, 1.0),
        ("River Nile in Africa", 0.0, 2 * 2 / (4 + 2)),
        ("Amazon", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_grades_are_the_best_over_all_aliases(text: str, exact_match: float, f1: float) -> None:
    example = Example("tc_1", "Which river?", "The Nile", ("River_Nile",))
    assert TriviaQa("a").grade(example, text) == {"exact_match": exact_match, "f1": f1}


def test_an_answer_of_nothing_but_articles() -> None:
    # Nothing is left of either after normalisation: the official script counts an exact match,
    # and an F1 of 0 since no word is shared.
    example = Example("x", "Which band?", "The The")
    assert TriviaQa("a").grade(example, "a") == {"exact_match": 1.0, "f1": 0.0}


def test_the_hub_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    withheld = {**HUB, "question_id": "tc_2", "answer": {"value": "<unk>", "aliases": []}}

    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        assert (name, config, split, streaming) == ("trivia_qa", "rc.nocontext", "train", False)
        return [HUB, withheld]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    dataset = TriviaQa(hub="trivia_qa", config="rc.nocontext", split="train")
    assert list(dataset) == [Example("tc_1", "Which river is longest?", "Nile", ("The Nile",))]
    assert dataset.skipped == {"without an answer": 1}


def test_the_serial_form_gives_it_back() -> None:
    dataset = TriviaQa("web-dev.json", verified=True, limit=3, seed=1, on_error="skip")
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("dpr/topics.dpr.trivia.dev.txt", 8837),
        ("mosaic/triviaqa_sm_sub.jsonl", 3000),
        ("derived/unfiltered-web-dev.mosaic3000.derived.json", 3000),
        ("official_sample/triviaqa_sample.json", 1),
        ("official_layout_allennlp/qa/web-dev.json", 2),
        ("official_layout_allennlp/qa/web-train.json", 3),
        ("official_layout_allennlp/qa/wikipedia-dev.json", 2),
        ("official_layout_allennlp/qa/wikipedia-train.json", 4),
    ],
)
def test_real_files_have_the_counts_of_their_source(data: Path, file: str, count: int) -> None:
    dataset = TriviaQa(str(data / "triviaqa" / file))
    assert len(dataset) == count
    assert dataset.skipped == {}
    for example in (dataset[0], dataset[count - 1]):
        assert dataset.grade(example, f"the {example.answer}!")["exact_match"] == 1.0


def test_real_aliases_normalise_to_those_of_the_official_files(data: Path) -> None:
    for path in (data / "triviaqa" / "official_layout_allennlp" / "qa").glob("*.json"):
        records = json.loads(path.read_text(encoding="utf-8"))["Data"]
        for record, example in zip(records, TriviaQa(str(path)), strict=True):
            accepted = {normalise(each) for each in (example.answer, *example.aliases)}
            assert accepted == set(record["Answer"]["NormalizedAliases"])
