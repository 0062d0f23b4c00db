"""What greedy decoding is worth, with numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from dcm import Example, Outcome, Status, build, describe, find
from dcm.testing.doubles import QuadraticGenerator

EXAMPLE = Example(id="e", question="Who wrote the book?", answer="Ada Lovelace")


def evaluated(*decoded, **options):
    outcomes = [
        Outcome(EXAMPLE, Status.CONVERGED, torch.zeros(1, 4), decoded=each) for each in decoded
    ]
    evaluator = find("evaluator", "greedy-decode")(**options)
    return evaluator.evaluate(QuadraticGenerator(), [EXAMPLE] * len(outcomes), outcomes)


def test_verbatim_texts_pass():
    (found,) = evaluated({"question": "Who wrote the book?", "answer": "Ada Lovelace"})
    assert found == {
        "question_verbatim": True,
        "question_match": True,
        "question_f1": 1.0,
        "answer_verbatim": True,
        "answer_match": True,
        "answer_f1": 1.0,
        "grade": "pass",
    }


def test_a_match_after_normalisation_is_no_pass():
    (found,) = evaluated({"question": "who wrote book", "answer": "Ada Lovelace"})
    assert (found["question_verbatim"], found["question_match"]) == (False, True)
    assert found["question_f1"] == 1.0
    assert found["grade"] == "partial"


@pytest.mark.parametrize(
    ("answer", "f1", "grade"),
    [
        ("Ada Byron", 0.5, "partial"),  # 1 of 2 words, of 2
        ("Ada", 2 / 3, "partial"),  # 1 of 1 word, of 2
        ("Ada King of Ockham", 1 / 3, "fail"),  # 1 of 4 words, of 2
        ("nobody", 0.0, "fail"),
        ("", 0.0, "fail"),
    ],
)
def test_the_worst_text_decides_the_grade(answer, f1, grade):
    (found,) = evaluated({"question": "Who wrote the book?", "answer": answer})
    assert found["answer_f1"] == pytest.approx(f1)
    assert found["question_verbatim"] is True
    assert found["grade"] == grade


def test_the_bound_of_a_partial_success_can_be_set():
    decoded = {"question": "Who wrote the book?", "answer": "Ada Byron"}
    assert evaluated(decoded, partial=0.6)[0]["grade"] == "fail"
    assert evaluated(decoded, partial=0.5)[0]["grade"] == "partial"


def test_only_what_was_decoded_is_judged():
    (found,) = evaluated({"answer": "Ada Lovelace"})
    assert set(found) == {"answer_verbatim", "answer_match", "answer_f1", "grade"}
    assert found["grade"] == "pass"
    assert evaluated({}) == [{"grade": "fail"}]
    assert evaluated({"summary": "text"}) == [{"grade": "fail"}]


def test_the_summary_has_shares_and_means():
    evaluator = find("evaluator", "greedy-decode")()
    found = evaluated(
        {"answer": "Ada Lovelace"}, {"answer": "Ada Byron"}, {"answer": "nobody"}, {"answer": "x"}
    )
    assert evaluator.summarise(found) == {
        "pass_rate": 0.25,
        "partial_rate": 0.25,
        "fail_rate": 0.5,
        "mean_answer_verbatim": 0.25,
        "mean_answer_match": 0.25,
        "mean_answer_f1": pytest.approx(1.5 / 4),
    }
    assert evaluator.summarise([]) == {"pass_rate": 0.0, "partial_rate": 0.0, "fail_rate": 0.0}


def test_it_can_be_written_down():
    evaluator = find("evaluator", "greedy-decode")(partial=0.25)
    assert build(describe(evaluator)) == evaluator
    with pytest.raises(ValueError, match="partial"):
        find("evaluator", "greedy-decode")(partial=1.5)
