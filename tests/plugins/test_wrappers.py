"""Data sets made of other data sets."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcm
from dcm import DatasetError, Example, TaskDataset, find
from dcm_puzzles.arithmetic import Arithmetic
from dcm_wrappers.concatenate import Concatenate
from dcm_wrappers.filter_length import FilterLength
from dcm_wrappers.sample import Sample
from dcm_wrappers.shuffled import Shuffled


@attrs.frozen
class Fixed(TaskDataset):
    """Examples "0", "1", ... with given questions and answers; grades with its own name."""

    answers: tuple[str, ...]
    questions: tuple[str, ...] | None = None
    name: str = "fixed"
    left_out: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        question = self.questions[index] if self.questions else f"question {index}"
        return Example(
            str(index), question, self.answers[index], aliases=("alias",), metadata={"at": index}
        )

    @property
    def skipped(self) -> Mapping[str, int]:
        return dict(self.left_out)

    def grade(self, example: Example, text: str) -> dict[str, float]:
        same = self[int(example.id)] == attrs.evolve(example, aliases=("alias",))
        return {f"{self.name} {same}": float(text == example.answer)}


# --- concatenate -------------------------------------------------------------------------------


def test_concatenated_sets_follow_one_another_with_their_position_in_the_id():
    whole = Concatenate([Fixed(("a", "b")), Fixed(("c",)), Fixed(("d", "e"))])
    assert len(whole) == 5
    assert [e.id for e in whole] == ["0/0", "0/1", "1/0", "2/0", "2/1"]
    assert [e.answer for e in whole] == ["a", "b", "c", "d", "e"]
    assert [whole[i] for i in (4, 2, 0)] == [list(whole)[i] for i in (4, 2, 0)]
    for index in (-1, 5):
        with pytest.raises(IndexError):
            whole[index]


def test_concatenated_sets_add_what_they_skipped_and_grade_their_own():
    one = Fixed(("a",), name="one", left_out=(("short", 2),))
    two = Fixed(("b",), name="two", left_out=(("short", 1), ("odd", 4)))
    whole = Concatenate((one, Concatenate((one, two))))
    assert whole.skipped == {"short": 5, "odd": 4}
    assert [e.id for e in whole] == ["0/0", "1/0/0", "1/1/0"]
    assert whole.grade(whole[1], "a") == {"one True": 1}
    assert whole.grade(whole[2], "a") == {"two True": 0}


@pytest.mark.parametrize("wrong", [(), ("arithmetic",)])
def test_only_data_sets_can_be_concatenated(wrong):
    with pytest.raises((ValueError, TypeError)):
        Concatenate(wrong)


# --- sample ------------------------------------------------------------------------------------


@given(size=st.integers(1, 30), data_=st.data(), seed=st.integers())
def test_a_sample_has_distinct_examples_and_is_chosen_by_its_seed(size, data_, seed):
    whole = Fixed(tuple(f"a{index}" for index in range(size)))
    count = data_.draw(st.integers(1, size))
    sample = Sample(whole, count, seed)
    assert len(sample) == len({e.id for e in sample}) == count
    assert all(e == whole[int(e.id)] for e in sample)
    assert list(Sample(whole, count, seed)) == list(sample)


def test_seeds_choose_different_samples_of_every_part():
    whole = Fixed(tuple("abcdefghij"))
    drawn = Counter(e.id for seed in range(300) for e in Sample(whole, 3, seed))
    # Each of ten is drawn 90 times of 300 in the mean, with a standard deviation of 8.
    assert all(50 < drawn[str(index)] < 130 for index in range(10))


def test_a_sample_cannot_be_larger_than_its_set():
    with pytest.raises(DatasetError, match=r"sample of 3 .* has 2 examples"):
        len(Sample(Fixed(("a", "b")), 3))


def test_a_sample_passes_on_grades_and_counts():
    sample = Sample(Fixed(("a", "b"), left_out=(("odd", 1),)), 1)
    assert sample.skipped == {"odd": 1}
    assert sample.grade(sample[0], sample[0].answer) == {"fixed True": 1}
    with pytest.raises(IndexError):
        sample[1]


# --- filter-length -----------------------------------------------------------------------------

TEXTS = Fixed(("1", "22", "333", "4444"), ("qqqq", "qqq", "qq", "q"), left_out=(("too long", 5),))


@pytest.mark.parametrize(
    ("fields", "kept", "short", "long"),
    [
        ({"part": "answer", "max_characters": 2}, "01", 0, 2),
        ({"part": "answer", "min_characters": 2}, "123", 1, 0),
        ({"part": "answer", "min_characters": 2, "max_characters": 3}, "12", 1, 1),
        ({"part": "question", "min_characters": 4}, "0", 3, 0),
        ({"max_characters": 5}, "0123", 0, 0),
    ],
)
def test_lengths_in_characters(fields, kept, short, long):
    dataset = FilterLength(TEXTS, **fields)
    assert [e.id for e in dataset] == list(kept)
    assert len(dataset) == len(kept)
    assert dataset.skipped.get("too short", 0) == short
    assert dataset.skipped["too long"] == long + 5
    assert dataset.grade(dataset[0], "x") == {"fixed True": 0}


UNKNOWN, BEGIN = "[UNK]", "[BOS]"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    """A tokenizer whose tokens are words, and which adds a special one at the start."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({UNKNOWN: 0, BEGIN: 1}, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, 1)]
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token=BEGIN).save_pretrained(folder)
    return str(folder)


def test_lengths_in_tokens(tokenizer):
    texts = Fixed(("one", "one two", "one two three"), ("a b c", "a b", "a b"))
    kept = FilterLength(texts, part="answer", max_tokens=2, tokenizer=tokenizer)
    assert [e.id for e in kept] == ["0", "1"]
    assert kept.skipped == {"too long": 1}
    assert len(FilterLength(texts, max_tokens=4, tokenizer=tokenizer)) == 2
    assert len(FilterLength(texts, max_tokens=5, tokenizer=tokenizer)) == 3


def test_a_missing_tokenizer_is_named(tmp_path):
    dataset = FilterLength(TEXTS, max_tokens=4, tokenizer=str(tmp_path / "none"))
    with pytest.raises(DatasetError, match=r"tokenizer .*none' cannot be loaded"):
        len(dataset)


def test_characters_need_no_tokenizer(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert len(FilterLength(TEXTS, max_characters=5)) == 4


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "give min_characters, max_characters or max_tokens"),
        ({"max_tokens": 3}, "need each other"),
        ({"tokenizer": "x", "max_characters": 3}, "need each other"),
        ({"part": "context", "max_characters": 3}, "part"),
        ({"max_characters": 0}, "max_characters"),
    ],
)
def test_wrong_bounds_are_refused(fields, error):
    with pytest.raises(ValueError, match=error):
        FilterLength(TEXTS, **fields)


def test_a_filter_that_leaves_nothing_is_an_error():
    with pytest.raises(DatasetError, match="Left out: 4 too long"):
        len(FilterLength(TEXTS, max_characters=1))


# --- shuffled ----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=25), st.integers())
def test_every_question_gets_the_answer_of_another(answers, seed):
    whole = Fixed(tuple(answers))
    shuffled = Shuffled(whole, seed)
    assert len(shuffled) == len(answers)
    assert Counter(e.answer for e in shuffled) == Counter(answers)
    assert [e.question for e in shuffled] == [e.question for e in whole]
    for index, example in enumerate(shuffled):
        giver = example.metadata["answer_index"]
        assert giver != index
        assert example.metadata["answer_of"] == str(giver)
        assert example.answer == answers[giver]
    # Of n answers, m of which are one text, at most n - m of those m questions can be served.
    own = sum(e.answer == answer for e, answer in zip(shuffled, answers, strict=True))
    assert own == max(0, 2 * max(Counter(answers).values()) - len(answers))


def test_a_shuffled_example_says_what_it_is():
    example = Shuffled(Fixed(("a", "b")))[0]
    assert example == Example(
        "0~shuffled",
        "question 0",
        "b",
        metadata={"at": 0, "answer_of": "1", "answer_index": 1},
    )


def test_seeds_give_any_question_any_other_answer():
    given_to_first = Counter(Shuffled(Fixed(tuple("abcde")), seed)[0].answer for seed in range(400))
    # Each of four is given 100 times in the mean, with a standard deviation of 9.
    assert set(given_to_first) == set("bcde")
    assert all(60 < times < 140 for times in given_to_first.values())


def test_a_shuffled_text_is_graded_as_the_answer_it_is():
    whole = Concatenate((Fixed(("a", "b"), name="one"), Fixed(("c",), name="two")))
    shuffled = Shuffled(whole)
    for example in shuffled:
        name = "one" if example.metadata["answer_of"].startswith("0/") else "two"
        assert shuffled.grade(example, example.answer) == {f"{name} True": 1}


def test_one_example_cannot_be_shuffled():
    with pytest.raises(DatasetError, match="Take two at least"):
        len(Shuffled(Fixed(("a",))))


def test_skipped_counts_pass_through():
    assert Shuffled(Fixed(("a", "b"), left_out=(("odd", 3),))).skipped == {"odd": 3}


# --- all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset",
    [
        Concatenate((Arithmetic(), Arithmetic(seed=1))),
        Sample(Arithmetic(), 7, seed=3),
        FilterLength(Arithmetic(), "answer", 1, 2),
        FilterLength(Arithmetic(), max_tokens=4, tokenizer="some/name"),
        Shuffled(Sample(Concatenate((Arithmetic(), Arithmetic(digits=3))), 9), seed=5),
    ],
)
def test_describe_and_build(dataset):
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize("wrapped", ["missing", "named"])
def test_nothing_is_read_before_it_is_asked_for(tmp_path, wrapped):
    absent = Arithmetic(path=str(tmp_path / wrapped))
    wrappers = [
        Concatenate((absent,)),
        Sample(absent, 1),
        FilterLength(absent, max_characters=3),
        Shuffled(absent),
    ]
    for wrapper in wrappers:
        with pytest.raises(DatasetError, match=f"no file .*{wrapped}"):
            len(wrapper)


def test_real_sets_can_be_wrapped_together(data: Path):
    files = ("gpt3/two_digit_addition", "llm_foundry/svamp")
    real = Concatenate(Arithmetic(path=str(data / f"arithmetic/{file}.jsonl")) for file in files)
    short = FilterLength(real, part="question", max_characters=100)
    kept = sum(len(example.question) <= 100 for example in real)
    assert len(short) == kept
    assert short.skipped == {"too long": 2300 - kept}
    control = Shuffled(Sample(short, 200))
    assert len({e.id for e in control}) == 200
    for example in control:
        assert control.grade(example, example.answer)["correct"] == 1


def line(example: Example, **changes: Any) -> str:
    found = {
        "id": example.id,
        "question": example.question,
        "answer": example.answer,
        "question_variants": ["p1?", "p2?", "p3?"],
        "answer_variants": ["b1"],
    }
    return json.dumps(found | changes) + "\n"


def test_paraphrased_adds_the_variants_of_the_lines_with_the_same_id(tmp_path: Path) -> None:
    samples = find("dataset", "samples")(limit=3)
    path = tmp_path / "variants.jsonl"
    path.write_text(line(samples[2]) + line(samples[0], answer_variants=[]))

    def variants(**fields: Any) -> list[Any]:
        made = find("dataset", "paraphrased")(dataset=samples, path=str(path), **fields)
        return [example.variants for example in made]

    some = ("p1?", "p2?", "p3?")
    assert variants() == [{"question": some}, {}, {"question": some, "answer": ("b1",)}]
    assert variants(skip=1, most=1) == [{"question": ("p2?",)}, {}, {"question": ("p2?",)}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "Another?"}, r"variants.jsonl:1: the paraphrases of .* of other texts"),
        ({"answer_variants": [5]}, r"variants.jsonl:1: field 'answer_variants' must be a list"),
        ({"question_variants": None}, r"variants.jsonl:1: field 'question_variants' must be"),
    ],
)
def test_paraphrased_names_the_line_that_is_wrong(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    samples = find("dataset", "samples")(limit=1)
    path = tmp_path / "variants.jsonl"
    path.write_text(line(samples[0], **changes))
    with pytest.raises(DatasetError, match=message):
        find("dataset", "paraphrased")(dataset=samples, path=str(path))[0]
