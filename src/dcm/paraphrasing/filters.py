"""Filters: why a text is no paraphrase, without asking a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

import attrs

from dcm.example import Example

_WORD = re.compile(r"[^\W_]+(?:['’.,:/-][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
# "One" counts nothing in "one of the finest".
_WRITTEN = {
    word: str(number)
    for number, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split(),
        start=2,
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"}
# Capitals that stand at a sentence's beginning and are no names.
_COMMON = frozenset(
    "a an and as at because both but by each for from he her his how i if in into is it its no not "
    "of on or our she some that the their there these they this those to was we were what when "
    "where which who whom whose why with yes you your".split()
)


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
        if not own:
            return "empty"
        if own == words:
            return "copy of the original"
        if any(own == _words(other) for other in accepted):
            return "duplicate"
        # A single word that differs makes another answer, but of a long text a copy.
        if len(words) > 3 and SequenceMatcher(None, words, own, autojunk=False).ratio() > self.near:
            return "near-verbatim copy"
        if len(own) > self.longest * len(words) + self.slack:
            return "too long"
        if len(own) < self.shortest * len(words) - self.slack:
            return "too short"
        if mode == "question" and own == _words(example.answer):
            return "gives the answer"
        if mode == "question" and _asks(original) and not _asks(text):
            return "no question"
        if _numbers(original) - _numbers(text):
            return "numbers changed"
        if mode == "answer":
            known = f"{original} {example.question}"
            if _numbers(text) - _numbers(original) - _numbers(known):
                return "numbers changed"
            lost = _names(original) - set(own)
            # Its first word begins with a capital whatever it is.
            added = _names(_but_first(text)) - set(_words(known))
            if lost or added:
                return "names changed"
        return ""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _numbers(text: str) -> Counter[str]:
    """The numbers of a text, those up to twenty and tens in words too."""
    found = [_number(each) for each in _NUMBER.findall(text)]
    found += [_WRITTEN[word] for word in _words(text) if word in _WRITTEN]
    return Counter(set(found))


def _number(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)


def _names(text: str) -> set[str]:
    """Words with a capital that are none of a sentence's usual first words, in lower case."""
    words = (word for word in _WORD.findall(text) if any(map(str.isupper, word)))
    return {word.casefold() for word in words} - _COMMON


def _but_first(text: str) -> str:
    first = _WORD.search(text)
    return text[first.end() :] if first else ""


def _asks(text: str) -> bool:
    return any(mark in text for mark in "?？؟")
