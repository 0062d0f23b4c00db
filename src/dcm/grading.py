"""Comparing a generated text with an expected one, as the SQuAD evaluation script does.

Source: Rajpurkar et al. 2016 (arXiv 1606.05250) and the official `evaluate-v2.0.py`.
"""

from __future__ import annotations

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, the articles a/an/the and repeated white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def normalised_match(text: str, expected: str) -> bool:
    """Whether both texts are equal after `normalise`."""
    return normalise(text) == normalise(expected)


def token_f1(text: str, expected: str) -> float:
    """Harmonic mean of precision and recall over normalised words; 1.0 if both have none."""
    found, wanted = normalise(text).split(), normalise(expected).split()
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))
