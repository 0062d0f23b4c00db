"""SQuAD's questions and their paraphrases: what makes a pair, what is left out, the objective."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DatasetError, Example
from dcm.solver import solve
from dcm.testing.doubles import TinyGenerator
from dcm_objectives.paraphrase import Paraphrase
from dcm_squad.paraphrased import SquadParaphrased
from dcm_squad.squad import Squad


def article(id: str, question: str, *texts: str, context: str = "Paris is it.") -> dict[str, Any]:
    """One question, as the published files have it."""
    answers = [{"text": text, "answer_start": 0} for text in texts or ("Paris",)]
    qa = {"id": id, "question": question, "answers": answers}
    return {"title": f"Title_{id}", "paragraphs": [{"context": context, "qas": [qa]}]}


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Makes the data set of articles with questions and articles with paraphrases."""

    def make(originals: list[Any], paraphrases: list[Any], **fields: Any) -> SquadParaphrased:
        for name, articles in (("original", originals), ("paraphrase", paraphrases)):
            (tmp_path / f"{name}.json").write_text(json.dumps({"data": articles}))
        return SquadParaphrased(
            str(tmp_path / "original.json"), str(tmp_path / "paraphrase.json"), **fields
        )

    return make


def test_a_pair_becomes_an_example(made: Any) -> None:
    answers = ("Paris", "the city Paris")
    dataset = made([article("7", "Which city?", *answers)], [article("6", "What town?", *answers)])
    assert list(dataset) == [
        Example(
            "7",
            "Which city?",
            "Paris",
            ("the city Paris",),
            ("What town?",),
            context="Paris is it.",
            metadata={"title": "Title_7"},
        )
    ]


def test_pairs_are_made_by_place_since_the_ids_of_one_file_are_others_in_the_other(
    made: Any,
) -> None:
    originals = [article(str(i), f"original {i}", f"answer {i}") for i in range(1, 9)]
    paraphrases = [article(str(i - 1), f"paraphrase {i}", f"answer {i}") for i in range(1, 9)]
    for choice in ({}, {"seed": 3}, {"limit": 3, "offset": 4}, {"limit": 3, "seed": 3}):
        dataset = made(originals, paraphrases, **choice)
        assert len(dataset) == choice.get("limit", 8)
        for example in dataset:
            assert example.question == f"original {example.id}"
            assert example.variants == {"question": (f"paraphrase {example.id}",)}


def test_what_makes_no_pair_is_left_out_and_counted(made: Any) -> None:
    originals = [article("a", "a?"), article("b", "b?"), article("c", "c?", " ")]
    paraphrases = [article("a", "A?"), article("b", " "), article("c", "C?", " ")]
    extra = [article("d", "d?"), article("e", "e?")]
    dataset = made([*originals, *extra], paraphrases)
    assert [example.id for example in dataset] == ["a"]
    assert dataset.skipped == {"without a paraphrase": 3, "unanswerable": 1}
    dataset = made(originals, [*paraphrases, *extra])
    assert [example.id for example in dataset] == ["a"]
    assert dataset.skipped == {
        "without a paraphrase": 1,
        "unanswerable": 1,
        "without an original": 2,
    }


@pytest.mark.parametrize(
    ("paraphrase", "message"),
    [
        (article("x", "A?", context="Another."), "differ in place, passage or answers"),
        (article("x", "A?", "Lyon"), r"differ in .*paraphrase\.json: data\[0\].*id 'x'"),
        (article("x", "A?", "Paris", "Lyon"), "differ in"),
        ({"title": "T"}, r"paraphrase\.json: data\[0\]: field 'paragraphs' is missing"),
        ({"paragraphs": [{"context": "c", "qas": [5]}]}, r"paraphrase\.json: data\[0\].*qas\[0\]"),
    ],
)
def test_pairs_that_do_not_fit_are_named_or_skipped(
    made: Any, paraphrase: Any, message: str
) -> None:
    files = [article("a", "a?"), article("b", "b?")], [paraphrase, article("y", "B?")]
    with pytest.raises(DatasetError, match=message):
        len(made(*files))
    dataset = made(*files, on_error="skip")
    assert [(example.id, example.variants) for example in dataset] == [("b", {"question": ("B?",)})]
    assert dataset.skipped == {"malformed": 1}


def test_no_wrong_pairs_are_made_behind_a_malformed_article_of_several_questions(
    made: Any,
) -> None:
    two = article("a", "a?")
    two["paragraphs"][0]["qas"] += article("b", "b?")["paragraphs"][0]["qas"]
    originals = [two, article("c", "c?")]
    with pytest.raises(DatasetError, match="the set is empty"):
        len(made(originals, [{"title": "T"}, article("c", "C?")], on_error="skip"))


@pytest.mark.parametrize("missing", ["path", "paraphrases"])
def test_a_missing_file_is_named(made: Any, missing: str) -> None:
    dataset = made([article("a", "a?")], [article("a", "A?")])
    fields = {"path": dataset.path, "paraphrases": dataset.paraphrases, missing: "none.json"}
    with pytest.raises(DatasetError, match=r"no file /.*/none\.json"):
        len(SquadParaphrased(**fields))


def test_the_serial_form_gives_it_back_without_reading() -> None:
    choice: dict[str, Any] = {"limit": 5, "offset": 2, "seed": 3, "on_error": "skip"}
    dataset = SquadParaphrased("a.json", Path("b.json"), **choice)
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize(
    "params",
    [{}, {"path": "a"}, {"paraphrases": "a"}, {"path": "a", "paraphrases": 5}],
)
def test_both_files_are_needed(params: dict[str, Any]) -> None:
    with pytest.raises(dcm.UsageError, match="'squad-paraphrased' cannot be built"):
        dcm.build({"kind": "dataset", "name": "squad-paraphrased", "params": params})


def test_the_real_files_have_the_counts_of_their_source(data: Path) -> None:
    original = str(data / "squad_paraphrased" / "dev_orig.json")
    paraphrases = str(data / "squad_paraphrased" / "dev_para.json")
    dataset = SquadParaphrased(original, paraphrases)
    assert len(dataset) == 1062
    assert dataset.skipped == {}
    wording = [example.question for example in Squad(paraphrases)]
    assert [example.variants for example in dataset] == [{"question": (text,)} for text in wording]
    assert [example.question for example in dataset] == [
        example.question for example in Squad(original)
    ]
    # They are paraphrases of their own questions: most of the words are shared.
    shared = [_shared(example.question, example.variants["question"][0]) for example in dataset]
    assert sum(shared) / len(shared) > 0.7


def _shared(one: str, other: str) -> float:
    words = set(one.lower().split()), set(other.lower().split())
    return len(words[0] & words[1]) / len(words[0] | words[1])


def test_the_paraphrases_shape_the_content_and_the_questions_are_generated(made: Any) -> None:
    dataset = made(
        [article("a", "Which city?"), article("b", "Where?", "here")],
        [article("a", "What town?"), article("b", "At which place?", "here")],
    )
    outcomes = list(
        solve(TinyGenerator(), dataset, objective=Paraphrase(), slots=16, max_steps=300)
    )
    assert {outcome.example.id for outcome in outcomes} == {"a", "b"}
    for outcome in outcomes:
        assert set(outcome.losses) == {"question", "answer"}
        assert set(outcome.variant_losses) == {"question"}
        assert outcome.exact
