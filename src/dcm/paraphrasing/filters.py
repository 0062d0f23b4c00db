"""Filters: why a text is no paraphrase, without asking a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import attrs

from dcm.example import Example

_WORD = re.compile(r"[^\W_]+(?:['.,:/\u2019-][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_ASKS = re.compile(r"[?\u061f\uff1f]")
# "One" counts nothing in "one of the finest".
_COUNTING = """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty"""
_WRITTEN = {word: str(number) for number, word in enumerate(_COUNTING.split(), start=2)}
_WRITTEN |= {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"}
# Words that often have a capital and are no names: they begin sentences.
_OPENING = """a an and as at because both but by each for from he her his how i if in into is it its
no not of on or our she some that the their there these they this those to was we were what when
where which who whom whose why with yes you your"""
_COMMON = frozenset(_OPENING.split())


@attrs.frozen
class Filters:
    """What a paraphrase must not be.

    Attributes:
        near: least similarity of the sequences of words at which a text is a near-verbatim copy.
        longest: how many times the original's words a text may have, and `slack` more.
        shortest: how many times the original's words a text must have, and `slack` fewer.
        slack: words.
    """

    near: float = attrs.field(default=0.95, validator=attrs.validators.gt(0))
    longest: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    shortest: float = attrs.field(default=0.4, validator=attrs.validators.ge(0))
    slack: int = attrs.field(default=6, validator=attrs.validators.ge(0))

    def reason(self, example: Example, mode: str, text: str, accepted: Sequence[str]) -> str:
        """Why `text` is no further paraphrase of the question or the answer; empty if it is.

        Args:
            example: whose texts are paraphrased.
            mode: `question` or `answer`.
            text: what was written.
            accepted: the paraphrases that there are already.
        """
        original = example.question if mode == "question" else example.answer
        words, own = _words(original), _words(text)
        reasons = {
            "empty": not own,
            "copy of the original": own == words,
            "duplicate": any(own == _words(other) for other in accepted),
            "near-verbatim copy": self._near(words, own),
            "too long": len(own) > self.longest * len(words) + self.slack,
            "too short": len(own) < self.shortest * len(words) - self.slack,
            "gives the answer": mode == "question" and own == _words(example.answer),
            "no question": mode == "question" and _asks(original) and not _asks(text),
            "numbers changed": _numbers_changed(example, original, text),
            "names changed": mode == "answer" and _names_changed(example, text),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _near(self, words: Sequence[str], own: Sequence[str]) -> bool:
        # A single word that differs makes another answer, but of a long text a copy.
        return (
            len(words) > 3
            and SequenceMatcher(None, words, own, autojunk=False).ratio() >= self.near
        )


def _numbers_changed(example: Example, original: str, text: str) -> bool:
    """Whether a number is lost, or one is there that neither question nor answer has."""
    known = _numbers(f"{example.question} {example.answer}")
    return bool(_numbers(original) - _numbers(text) or _numbers(text) - known)


def _names_changed(example: Example, text: str) -> bool:
    """Whether a name of the answer is lost, or one is there that the question does not have."""
    known = set(_words(f"{example.question} {example.answer}"))
    # The first word begins with a capital whatever it is.
    first = _WORD.search(text)
    added = _names(text[first.end() :] if first else "") - known
    return bool(_names(example.answer) - set(_words(text)) or added)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _numbers(text: str) -> set[str]:
    """The numbers of a text, those up to twenty and some more in words too."""
    digits = {re.sub(r"(?<=\d),(?=\d{3}\b)", "", each) for each in _NUMBER.findall(text)}
    return digits | {_WRITTEN[word] for word in _words(text) if word in _WRITTEN}


def _names(text: str) -> set[str]:
    """Words with a capital that are none of a sentence's usual first words, in lower case."""
    words = (word for word in _WORD.findall(text) if any(map(str.isupper, word)))
    return {word.casefold() for word in words} - _COMMON


def _asks(text: str) -> bool:
    return _ASKS.search(text) is not None
