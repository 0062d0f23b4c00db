"""Stage 3: what decoding gives."""

from __future__ import annotations

import pytest

from dcm.protocol.spot_check import SpotCheck, grade
from dcm.protocol.statistics import wilson


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("who wrote it", "Ada Marsh", "pass"),
        ("who wrote", "Ada", "partial"),  # F1 0.8 and 2 / 3
        ("who wrote it", "ada marsh", "partial"),  # the same words, not verbatim
        ("who wrote it", "Bob Marsh Lee", "fail"),  # F1 2 / 5
        ("", "", "fail"),
    ],
)
def test_a_decode_is_graded(make, question, answer, expected):
    assert grade(make(decoded={"question": question, "answer": answer})) == expected


def test_nothing_decoded_fails(make):
    assert grade(make(decoded={})) == "fail"


def test_some_converged_and_all_failed_examples_are_shown(make):
    results = [make(str(n)) for n in range(20)]
    verdicts = [n % 2 == 0 for n in range(20)]
    check = SpotCheck.of(results, verdicts, count=5, seed=0)
    shown = [each["id"] for each in check.shown]
    assert len(set(shown[:5])) == 5
    assert {int(id) % 2 for id in shown[:5]} == {0}
    assert shown[5:] == [str(n) for n in range(1, 20, 2)]
    # Another order of finishing shows the same.
    again = SpotCheck.of(results[::-1], verdicts[::-1], count=5, seed=0)
    assert [each["id"] for each in again.shown[:5]] == shown[:5]
    assert len(SpotCheck.of(results[:3], [True] * 3, count=5, seed=0).shown) == 3


def check_of(make, passing: int, count: int) -> SpotCheck:
    decoded = [make(str(n)) for n in range(passing)]
    decoded += [make(str(n), decoded={"answer": "?"}) for n in range(passing, count)]
    return SpotCheck.of(decoded, [True] * count, count=5, seed=0)


def test_the_goal_is_above_eight_of_ten(make):
    assert check_of(make, 8, 10).gate().verdict == "missed"
    assert check_of(make, 9, 10).gate().verdict == "passed"
    assert check_of(make, 9, 10).passed == wilson(9, 10)
    assert check_of(make, 9, 10).converged == {"pass": 9, "partial": 0, "fail": 1}


@pytest.mark.parametrize(
    ("passing", "converged", "expected"),
    [(8, 60, True), (8, 50, False), (9, 60, False), (0, 100, True)],
)
def test_high_convergence_with_low_pass_is_degenerate(make, passing, converged, expected):
    assert check_of(make, passing, 10).degenerate(wilson(converged, 100)) is expected


def test_texts_are_graded_by_mode_and_by_a_judge_if_there_was_one(make):
    judged = {"semantic": {"question_equivalent": True, "answer_equivalent": False}}
    results = [
        make("a", evaluations=judged),
        make("b", decoded={"question": "Who wrote it?", "answer": "Ada"}),
    ]
    found = SpotCheck.of(results, [True, True], count=5, seed=0).by_text
    assert found["question"]["verbatim"].value == 0.5
    assert found["question"]["match"].value == 1.0
    assert found["answer"]["f1"].value == pytest.approx((1 + 2 / 3) / 2)
    assert (found["answer"]["equivalent"].value, found["answer"]["equivalent"].count) == (0, 1)


def test_the_record_shows_texts_question_first(make):
    shown = check_of(make, 1, 1).as_json()["shown"]
    assert list(shown[0]["decoded"].items()) == [
        ("question", "who wrote it"),
        ("answer", "Ada Marsh"),
    ]
