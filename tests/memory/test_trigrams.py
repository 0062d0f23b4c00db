"""The shortlist: which stored questions have parts of words in common with a new one."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.memory.trigrams import Trigrams, relevance

TEXTS = ["Who wrote Hamlet?", "When was Hamlet written?", "How far is the moon?", "", "¿Qué?"]


def test_the_nearest_text_comes_first_even_misspelt() -> None:
    index = [Trigrams.of(TEXTS)]
    assert relevance(index, "hamlt, who worte it?")[0].argmax() == 0
    assert relevance(index, "the distance of the moon")[0].argmax() == 2
    assert relevance(index, "qué es esto")[0].argmax() == 4


def test_nothing_in_common_is_no_relevance() -> None:
    assert not relevance([Trigrams.of(TEXTS)], "zzz")[0].any()
    assert not relevance([Trigrams.of(TEXTS)], "?!")[0].any()


@given(st.lists(st.text(alphabet="abc é?", max_size=12), min_size=1, max_size=8), st.text("abc é"))
def test_parts_together_are_one_collection(texts: list[str], asked: str) -> None:
    whole = relevance([Trigrams.of(texts)], asked)[0]
    middle = len(texts) // 2
    parts = relevance([Trigrams.of(texts[:middle]), Trigrams.of(texts[middle:])], asked)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5)


def test_it_is_bm25() -> None:
    texts = ["abcd abc", "abc", "bcd xyz"]
    grams = [{" ab", "abc", "bcd", "cd ", "bc "}, {" ab", "abc", "bc "}]
    grams.append({" bc", "bcd", "cd ", " xy", "xyz", "yz "})
    known, mean = Counter(each for own in grams for each in own), np.mean([*map(len, grams)])
    wanted = [
        sum(
            math.log(1 + (3 - known[each] + 0.5) / (known[each] + 0.5))
            for each in own & {" ab", "abc", "bc "}
        )
        / (1 + 1.2 * (0.25 + 0.75 * len(own) / mean))
        for own in grams
    ]
    assert relevance([Trigrams.of(texts)], "ABC!")[0] == pytest.approx(wanted, rel=1e-5)
