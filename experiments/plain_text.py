"""The model as a reader of ordinary text: few-shot answers, greedily; behind contents too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from kit import Token

from dcm import Example, Generator, normalised_match
from dcm.memory_limit import in_parts

SHOTS = (
    ("Who wrote the play Hamlet?", "William Shakespeare"),
    ("What is 2 + 3?", "5"),
    ("Which planet is known as the Red Planet?", "Mars"),
    ("What is the capital of Scotland?", "Edinburgh"),
)
_MOST_TOKENS = 16


def prompt(question: str, shots: Sequence[tuple[str, str]] = SHOTS) -> str:
    """Questions with their answers, and a question without one."""
    shown = "".join(f"Question: {asked}\nAnswer: {answer}\n\n" for asked, answer in shots)
    return f"{shown}Question: {question}\nAnswer:"


def greedy(model: Generator, prompts: Sequence[str]) -> list[str]:
    """What the model writes on behind each prompt, up to the line's end."""
    ids = [(*model.opening, *model.encode(text)[:-1]) for text in prompts]
    by_length: dict[int, list[int]] = {}
    for place, own in enumerate(ids):
        by_length.setdefault(len(own), []).append(place)
    found: dict[int, str] = {}
    for places in by_length.values():

        def decode(some: Sequence[int]) -> list[str]:
            embedded = model.embed(torch.tensor([ids[place] for place in some]).to(model.device))
            # The prompt's own tokens stand where contents stand, the last where the mode stands.
            return model.decode(embedded[:, :-1], embedded[:, -1], _MOST_TOKENS, "suffix")

        found |= zip(places, in_parts(decode, places), strict=True)
    return [found[place].strip().partition("\n")[0].strip() for place in range(len(ids))]


def accepted(example: Example, said: str) -> str | None:
    """The wording of the example's answer that the model said; None where it said another thing."""
    wordings = (example.answer, *example.aliases)
    return next((each for each in wordings if normalised_match(said, each)), None)


def behind(model: Generator, words: str) -> Token:
    """The tokens of words as an ordinary text begins with them, one at least."""
    return (*model.opening, *model.encode(words)[:-1])
