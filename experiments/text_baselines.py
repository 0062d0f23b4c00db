"""Text retrieval over stored questions, beside which a memory of contents has to stand."""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcm.memory.trigrams import Trigrams, relevance


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


class Overlap:
    """Share of words in common: intersection over union."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.holders: dict[str, list[int]] = defaultdict(list)
        self.sizes = np.empty(len(texts))
        for place, text in enumerate(texts):
            own = set(words(text))
            self.sizes[place] = len(own)
            for word in own:
                self.holders[word].append(place)

    def __call__(self, text: str) -> np.ndarray:
        own = set(words(text))
        common = np.zeros(len(self.sizes))
        for word in own:
            common[self.holders.get(word, [])] += 1
        return common / np.maximum(1, self.sizes + len(own) - common)


class Bm25:
    """BM25 over whole words (Robertson and Zaragoza 2009), k1 = 1.2, b = 0.75."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        lengths = np.array([sum(each.values()) for each in counts], float)
        norm = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, each in enumerate(counts):
            for word, count in each.items():
                found[word].append((place, count * 2.2 / (count + norm[place])))
        self.count = len(texts)
        self.holders = {
            word: (np.array([place for place, _ in each]), np.array([value for _, value in each]))
            for word, each in found.items()
        }

    def __call__(self, text: str) -> np.ndarray:
        scores = np.zeros(self.count)
        for word in set(words(text)):
            if word in self.holders:
                places, values = self.holders[word]
                known = len(places)
                scores[places] += values * math.log(1 + (self.count - known + 0.5) / (known + 0.5))
        return scores


class TrigramBm25:
    """BM25 over the trigrams of words: the memory's own shortlist."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.index = Trigrams.of(texts)

    def __call__(self, text: str) -> np.ndarray:
        return relevance([self.index], text)[0]


class Static:
    """Cosine of static embeddings: WordLlama, 256 numbers, its weights come with the package."""

    def __init__(self, texts: Sequence[str]) -> None:
        import wordllama

        # Its loader looks for the tokenizer under another name than the package has; it finds it
        # where it is told that its cache is.
        here = Path(wordllama.__file__).parent
        self.model = wordllama.WordLlama.load(cache_dir=here, disable_download=True)
        self.stored = self.embed(texts)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.model.embed(list(texts), norm=True)

    def __call__(self, text: str) -> np.ndarray:
        return self.stored @ self.embed([text])[0]


METHODS = {
    "word overlap": Overlap,
    "BM25, words": Bm25,
    "BM25, trigrams": TrigramBm25,
    "static embeddings": Static,
}


def half(text: str, chance: random.Random) -> str:
    """Half of the words, in their order."""
    own = text.split()
    kept = sorted(chance.sample(range(len(own)), max(1, len(own) // 2)))
    return " ".join(own[place] for place in kept)


def shuffled(text: str, chance: random.Random) -> str:
    """The words in another order."""
    own = text.rstrip("?").split()
    chance.shuffle(own)
    return " ".join(own)


def misspelt(text: str, chance: random.Random) -> str:
    """Half of the words with two letters swapped, one left out, or one replaced."""
    own = text.split()
    for place, word in enumerate(own):
        if len(word) > 2 and chance.random() < 0.5:
            letters, at, kind = list(word), chance.randrange(len(word) - 1), chance.random()
            if kind < 1 / 3:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            elif kind < 2 / 3:
                del letters[at]
            else:
                letters[at] = chance.choice("abcdefghijklmnopqrstuvwxyz")
            own[place] = "".join(letters)
    return " ".join(own)
