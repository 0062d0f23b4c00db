"""What is no paraphrase, and why."""

from __future__ import annotations

import pytest

from dcm import Example, find
from dcm.paraphrasing import Filters
from dcm.paraphrasing.reply import texts_of

EXAMPLE = Example("e", "Where did the 12 Swiss guards of Rome stand in 1527?", "near Saint Peter")


def reason(text: str, mode: str = "question", accepted: tuple[str, ...] = ()) -> str:
    return Filters().reason(EXAMPLE, mode, text, accepted)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In 1527, at which place did twelve Swiss guards of Rome stand?", ""),
        (" ?!", "empty"),
        ("where did the 12 swiss guards of rome stand in 1527", "copy of the original"),
        ("Where did the 12 Swiss guards of Rome stand in in 1527?", "near-verbatim copy"),
        ("In 1572, where did the 12 guards of Rome keep their stand?", "numbers changed"),
        ("At which place did the guards of Rome stand?", "numbers changed"),
        ("near Saint Peter", "gives the answer"),
        ("The 12 Swiss guards of Rome had a stand somewhere in 1527", "no question"),
        ("In 1527 the 12 guards stood where? " + "Tell me more of it. " * 8, "too long"),
    ],
)
def test_a_question(text: str, expected: str) -> None:
    assert reason(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("They stood near Saint Peter.", ""),
        ("In Rome, close to Saint Peter", ""),
        ("close to Saint Paul", "names changed"),
        ("near the saint", "names changed"),
        ("near Saint Peter and Saint Mary", "names changed"),
        ("3 miles from Saint Peter", "numbers changed"),
        ("Near Saint Peter!", "copy of the original"),
    ],
)
def test_an_answer(text: str, expected: str) -> None:
    assert reason(text, "answer") == expected


def test_what_is_there_already_is_a_duplicate() -> None:
    text = "At which place did the 12 guards of Rome stand in 1527?"
    assert reason(text.upper(), accepted=(text,)) == "duplicate"


def test_a_word_of_a_short_text_may_differ() -> None:
    example = Example("e", "Who won?", "the red team")
    assert Filters().reason(example, "answer", "the reds", ()) == ""


def test_most_paraphrases_by_hand_pass(data) -> None:
    folder = data / "squad_paraphrased"
    pairs = find("dataset", "squad-paraphrased")(
        path=str(folder / "dev_orig.json"), paraphrases=str(folder / "dev_para.json")
    )
    found = [Filters().reason(e, "question", e.variants["question"][0], ()) for e in pairs]
    copies = [each for each in found if "copy" in each]
    # That set has paraphrases that differ by an article or a comma.
    assert len(found) - len(copies) - found.count("") <= 0.02 * len(found)
    assert len(copies) <= 0.15 * len(found)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('["One?", "Two?"]', ["One?", "Two?"]),
        ('Here they are:\n```json\n["One?",\n "Two\\n?"]\n```\nEnjoy!', ["One?", "Two ?"]),
        ('1. One?\n2) "Two?"\n', ["One?", "Two?"]),
        ("Sure!\n- One?\n* Two?", ["One?", "Two?"]),
        ('["One?", "Tw', None),
        ('[{"text": "One?"}]', None),
        ("[1, 2]", None),
        ("[]", None),
        ("I cannot do that.", None),
        ("", None),
    ],
)
def test_what_a_reply_lists(reply: str, expected: list[str] | None) -> None:
    assert texts_of(reply) == expected
