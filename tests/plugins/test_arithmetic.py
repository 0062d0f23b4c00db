"""Arithmetic: generated problems, problems from files, grading."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcm
from dcm import DatasetError, Example, UsageError
from dcm_puzzles.arithmetic import Arithmetic, parse_number

SIGNS = {"plus": "+", "minus": "-", "times": "*"}


def recomputed(problem: str) -> Fraction:
    left, sign, right = re.fullmatch(r"(\d+)([-+*/])(\d+)", problem).groups()
    one, other = Fraction(left), Fraction(right)
    return (
        {"+": one + other, "-": one - other, "*": one * other}[sign] if sign != "/" else one / other
    )


@settings(deadline=None)
@given(
    operations=st.sets(st.sampled_from("+-*/"), min_size=1).map("".join),
    digits=st.integers(1, 9),
    count=st.integers(1, 30),
    seed=st.integers(),
)
def test_generated_problems_are_distinct_right_and_within_digits(operations, digits, count, seed):
    dataset = Arithmetic(operations=operations, digits=digits, count=count, seed=seed)
    examples = list(dataset)
    assert len({example.id for example in examples}) == len(dataset) == count
    for example in examples:
        assert example.question == example.id + "=?"
        assert recomputed(example.id) == int(example.answer)
        assert all(len(number) <= digits for number in re.findall(r"\d+", example.id))
        assert all(str(int(number)) == number for number in re.findall(r"\d+", example.id))


@pytest.mark.parametrize(("operations", "exist"), [("+", 100), ("/", 32), ("+-*/", 332)])
def test_every_problem_that_exists_can_be_generated_and_no_more(operations, exist):
    # Exact divisions of 0..9 by 1..9: 10 by 1, 5 by 2, 4 by 3, 3 by 4, 2 by each of 5..9.
    everything = Arithmetic(operations=operations, digits=1, count=exist)
    assert len({example.id for example in everything}) == exist
    with pytest.raises(ValueError, match=rf"only {exist} different problems exist"):
        Arithmetic(operations=operations, digits=1, count=exist + 1)
    params = {"operations": operations, "digits": 1, "count": exist + 1}
    with pytest.raises(UsageError, match="different problems exist"):
        dcm.build({"kind": "dataset", "name": "arithmetic", "params": params})


def test_operations_take_turns_and_an_exhausted_one_is_passed_over():
    asked = [re.sub(r"\d", "", example.id) for example in Arithmetic("/+", digits=1, count=100)]
    assert asked[:6] == ["/", "+", "/", "+", "/", "+"]
    assert Counter(asked) == {"/": 32, "+": 68}


def test_a_longer_set_begins_with_a_shorter_one_and_a_seed_chooses_another():
    short = Arithmetic(count=50)
    assert list(islice(Arithmetic(count=5000), 50)) == list(short)
    assert {e.id for e in Arithmetic(count=50, seed=1)} != {e.id for e in short}
    assert list(Arithmetic(count=50, offset=10, limit=7)) == list(short)[10:17]


def test_operands_are_spread_evenly():
    numbers = Counter(
        int(number) // 100
        for example in Arithmetic(operations="+", digits=3, count=20_000)
        for number in example.id.split("+")
    )
    # 40,000 operands over ten hundreds: the standard deviation of each count is 60.
    assert all(abs(numbers[hundred] - 4000) < 300 for hundred in range(10))


def test_a_problem_far_into_a_huge_set_needs_none_before_it():
    dataset = Arithmetic(digits=30, count=10**15)
    assert len(dataset) == 10**15
    example = dataset[10**15 - 1]
    assert recomputed(example.id) == int(example.answer)
    with pytest.raises(IndexError):
        dataset[10**15]


@pytest.mark.parametrize(
    "wrong",
    [
        {"operations": ""},
        {"operations": "+%"},
        {"operations": "++"},
        {"digits": 0},
        {"digits": 31},
        {"digits": 10, "operations": "/"},
        {"count": 0},
        {"offset": -1},
        {"on_error": "perhaps"},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ValueError, match=re.escape(next(iter(wrong)))):
        Arithmetic(**wrong)


def test_an_offset_beyond_the_set_is_an_error():
    with pytest.raises(DatasetError, match="Lower offset 100"):
        len(Arithmetic(offset=100))


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "question", "answer", "metadata"),
    [
        (
            {"context": "\n\nQ: What is 1 plus 2?\n\nA:", "completion": " 3"},
            "What is 1 plus 2?",
            "3",
            {},
        ),
        ({"context": "4 - 6 =", "continuation": " -2"}, "4 - 6 =", "-2", {}),
        ({"context": "Two?", "hint": "(2)", "answer": "2"}, "Two?", "2", {"hint": "(2)"}),
        (
            {"question": "How many?", "answer": "1+1=<<1+1=2>>2\n#### 1,002"},
            "How many?",
            "1,002",
            {"solution": "1+1=<<1+1=2>>2\n#### 1,002"},
        ),
    ],
)
def test_layouts(tmp_path, line, question, answer, metadata):
    path = tmp_path / "some.part.jsonl"
    path.write_text(json.dumps(line))
    assert list(Arithmetic(path=str(path))) == [
        Example("some-1", question, answer, metadata=metadata)
    ]


def test_records_without_a_number_are_left_out_and_malformed_ones_named(tmp_path):
    path = tmp_path / "f.jsonl"
    good = '{"context": "1+1=", "answer": "2"}'
    path.write_text("\n".join([good, '{"context": "1+x=", "answer": "x"}', good, '{"answer": 2}']))
    dataset = Arithmetic(path=str(path), on_error="skip")
    assert [example.id for example in dataset] == ["f-1", "f-3"]
    assert dataset.skipped == {"answer without a number": 1, "malformed": 1}
    with pytest.raises(DatasetError, match=r"f\.jsonl:4: field 'context' is missing"):
        len(Arithmetic(path=str(path)))


def test_gpt3_files_agree_with_the_generator(data):
    """Other people's answers, problem by problem, are an outside check of ours."""
    for name, sign in (("addition", "+"), ("subtraction", "-"), ("multiplication", "*")):
        ours = {e.id: e.answer for e in Arithmetic(operations=sign, digits=2, count=10_000)}
        theirs = Arithmetic(path=str(data / f"arithmetic/gpt3/two_digit_{name}.jsonl"))
        assert len(theirs) == 2000
        for example in theirs:
            words = example.question.removeprefix("What is ").removesuffix("?").split()
            assert ours[f"{words[0]}{SIGNS[words[1]]}{words[2]}"] == example.answer


@pytest.mark.parametrize("size", ["three", "four", "five"])
@pytest.mark.parametrize("name", ["addition", "subtraction"])
def test_answers_of_gpt3_files_are_read_right(data, size, name):
    dataset = Arithmetic(path=str(data / f"arithmetic/gpt3/{size}_digit_{name}.jsonl"))
    assert len(dataset) == 2000
    for example in dataset:
        words = example.question.removeprefix("What is ").removesuffix("?").split()
        assert recomputed(f"{words[0]}{SIGNS[words[1]]}{words[2]}") == int(example.answer)


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("gpt3/single_digit_three_ops", 2000),
        ("gpt3/sum_of_digits", 2000),
        ("llm_foundry/simple_arithmetic_nospaces", 1000),
        ("llm_foundry/simple_arithmetic_withspaces", 1000),
        ("llm_foundry/bigbench_simple_arithmetic", 60),
        ("llm_foundry/bigbench_operators", 210),
        ("llm_foundry/svamp", 300),
        ("gsm8k/test", 1319),
    ],
)
def test_counts_of_other_files(data, file, count):
    dataset = Arithmetic(path=str(data / "arithmetic" / f"{file}.jsonl"))
    assert len(dataset) == count
    assert dataset.skipped == {}
    assert all("####" not in e.answer and "Q:" not in e.question for e in dataset)
    assert all(dataset.grade(e, e.answer) == {"correct": 1, "exact_match": 1} for e in dataset)


# --- grading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("19", 19),
        (" it is -7, I think 8", -7),
        ("\u22127", -7),
        ("- 7", -7),
        ("+5", 5),
        ("$1,234.50 a day", Decimal("1234.5")),
        ("-$3", -3),
        ("1,234,567", 1234567),
        ("1,2", 1),
        ("12,3456", 12),
        ("5.", 5),
        ("0005", 5),
        ("none", None),
        ("", None),
        ("\u0663", None),
    ],
)
def test_parse_number(text, number):
    assert parse_number(text) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1e9, max_value=1e9))
def test_numbers_are_found_however_they_are_written(number):
    assert parse_number(f"= {number:,f}.") == parse_number(f"{number:f}") == number


@pytest.mark.parametrize(
    ("text", "correct", "exact"),
    [
        ("19", 1, 1),
        (" 19\n", 1, 1),
        ("19.0", 1, 0),
        ("The answer is 19.", 1, 0),
        ("-19", 0, 0),
        ("", 0, 0),
    ],
)
def test_grades(text, correct, exact):
    dataset = Arithmetic()
    grades = dataset.grade(Example("12+7", "12+7=?", "19"), text)
    assert grades == {"correct": correct, "exact_match": exact}


def test_the_sign_of_an_answer_counts():
    assert Arithmetic().grade(Example("5-8", "5-8=?", "-3"), "3") == {
        "correct": 0,
        "exact_match": 0,
    }


# --- form and robustness -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset",
    [Arithmetic(), Arithmetic("/-", 3, 7, 5), Arithmetic(path="a.jsonl", limit=3, offset=1)],
)
def test_describe_and_build(dataset):
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.jsonl"


GOOD = b'{"context": "Q: 1+1= A:", "completion": " 2"}\n{"question": "2?", "answer": "#### 2"}\n'


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.integers(0, len(GOOD)).map(lambda end: GOOD[:end])
    | st.tuples(st.integers(0, len(GOOD) - 1), st.binary(max_size=3)).map(
        lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] + 1 :]
    )
)
def test_damaged_files_are_read_or_refused(scratch, content):
    scratch.write_bytes(content)
    try:
        examples = list(Arithmetic(path=str(scratch)))
    except DatasetError:
        return
    assert 1 <= len(examples) <= 4
