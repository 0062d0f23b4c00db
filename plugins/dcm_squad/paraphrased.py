"""SQuAD questions and their paraphrases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import attrs

from dcm import DatasetError, Example
from dcm.fields import one_of
from dcm.reading import (
    Collected,
    OnError,
    Placed,
    SquadFile,
    SquadRecord,
    StoredDataset,
    Unusable,
    collect,
    path_text,
    squad_example,
)


@attrs.frozen
class SquadParaphrased(StoredDataset):
    """SQuAD questions with a paraphrase each (Gan and Ng 2019, ACL), for the objective
    `paraphrase`: two files in SQuAD's layout, one of the questions as they were and one of their
    paraphrases, in the same order.

    The examples are those that the data set `squad` makes of the first file, with the paraphrase
    as their only variant. What stands at one place of both documents is a pair, whatever its ids:
    in the published files they are off by one, so that an id of one file is that of another
    question in the other. A pair that differs in place, passage or answers is malformed. Questions
    without a counterpart, because one file is longer or the paraphrase is blank or unanswerable,
    are left out and counted as "without a paraphrase" or "without an original".

    Both files are streamed: an article of each is held, and the chosen examples. Grades are those
    of `squad`.

    Attributes:
        path: the JSON file of the questions, `dev_orig.json`.
        paraphrases: the JSON file of their paraphrases, `dev_para.json`.
        on_error: "skip" leaves out malformed records, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
    """

    path: str = attrs.field(converter=path_text)
    paraphrases: str = attrs.field(converter=path_text)
    on_error: OnError = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def read(self) -> Collected:
        return collect(
            _Pairs(self.path, self.paraphrases),
            _example,
            offset=self.offset,
            limit=self.limit,
            seed=self.seed,
            on_error=self.on_error,
        )


class _Pair(NamedTuple):
    """A question and its paraphrase, each with its place; None where the file has ended."""

    original: tuple[str, SquadRecord] | None
    paraphrase: tuple[str, SquadRecord] | None


class _Pairs:
    """The questions of two files side by side; can be iterated again."""

    def __init__(self, originals: str, paraphrases: str) -> None:
        self._originals, self._paraphrases = SquadFile(originals), SquadFile(paraphrases)

    def __iter__(self) -> Iterator[Placed]:
        for pair in map(_Pair._make, zip_longest(self._originals, self._paraphrases)):
            placed = [each for each in pair if each is not None]
            malformed = [each for each in placed if isinstance(each[1], DatasetError)]
            yield malformed[0] if malformed else (placed[0][0], pair)


def _example(pair: _Pair, _: str) -> Example:
    if pair.original is None:
        raise Unusable("without an original")
    place, record = pair.original
    example = squad_example(record, place)
    if pair.paraphrase is None:
        raise Unusable("without a paraphrase")
    other_place, other_record = pair.paraphrase
    try:
        other = squad_example(other_record, other_place)
    except Unusable as reason:
        raise Unusable("without a paraphrase") from reason
    if _standing(place, example) != _standing(other_place, other):
        asked = f"question {example.id!r} and its paraphrase differ in place, passage or answers"
        there = f"The paraphrase is {other_place} (id {other.id!r})"
        do = "Both files must hold the same questions in the same order"
        raise DatasetError(asked, there, do, place=place)
    return attrs.evolve(example, variants=(other.question,))


def _standing(place: str, example: Example) -> tuple[object, ...]:
    """What a question and its paraphrase have in common: the place in the document, and so on."""
    in_document = place.rpartition(": ")[2]
    return in_document, example.context, example.answer, example.aliases
