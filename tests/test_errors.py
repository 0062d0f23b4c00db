"""Errors: what they say, and that they survive being sent to another process."""

from __future__ import annotations

import pickle

import pytest

from dcm import (
    DatasetError,
    DcmError,
    GeneratorError,
    PluginError,
    RunDirectoryError,
    UsageError,
)
from dcm.errors import did_you_mean

KINDS = [DatasetError, DcmError, GeneratorError, PluginError, RunDirectoryError, UsageError]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("no such file",), "no such file."),
        (("no such file", "", "Check the path"), "no such file. Check the path."),
        (("a", "There is b", "Use c"), "a. There is b. Use c."),
        (("a. ", " There is b. ", "Use c."), "a. There is b. Use c."),
        (("no 'sqad'", "", "Did you mean 'squad'?"), "no 'sqad'. Did you mean 'squad'?"),
        (("what?", "There is b"), "what? There is b."),
    ],
)
def test_the_parts_make_sentences(parts: tuple[str, ...], text: str) -> None:
    assert str(DcmError(*parts)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_one_of_ours(kind: type[DcmError]) -> None:
    with pytest.raises(DcmError, match=r"asked\. there\. do\."):
        raise kind("asked", "there", "do")


def test_a_wrong_request_is_told_from_a_failure() -> None:
    wrong = {kind for kind in KINDS if kind.exit_status == 2}
    assert wrong == {UsageError, RunDirectoryError}
    assert {kind.exit_status for kind in KINDS} == {1, 2}


def test_a_data_set_error_begins_with_its_place() -> None:
    error = DatasetError("the record is malformed", "It has no id", place="pairs.jsonl:12")
    assert str(error) == "pairs.jsonl:12: the record is malformed. It has no id."
    assert error.place == "pairs.jsonl:12"
    assert str(DatasetError("the set is empty")) == "the set is empty."


@pytest.mark.parametrize("error", [UsageError("a", "b", "c"), DatasetError("a", "b", place="f:1")])
def test_an_error_can_be_sent_to_another_process(error: DcmError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("sqad", ["triviaqa", "squad"]) == "Did you mean 'squad'?"


def test_all_names_are_listed_where_none_is_near() -> None:
    assert did_you_mean("zzz", ["triviaqa", "squad"]) == "Use one of: squad, triviaqa"


def test_that_there_is_nothing_is_said_too() -> None:
    assert did_you_mean("zzz", []) == "There is none"
