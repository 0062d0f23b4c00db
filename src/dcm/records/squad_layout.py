"""The JSON layout of SQuAD 1.1 and 2.0, in which many other sets are published too.

Source: Rajpurkar et al. 2016 (arXiv 1606.05250) and 2018 (arXiv 1806.03822).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dcm.errors import DatasetError
from dcm.example import Example
from dcm.records.choosing import Placed, Unusable
from dcm.records.documents import JsonItems
from dcm.records.reading import field, identifier, question_text, texts


class SquadRecord(NamedTuple):
    """One question, and the passage and article that it stands in."""

    qa: Any
    context: str
    title: str | None


class SquadFile:
    """(place, `SquadRecord`) for every question of a file; a malformed article or paragraph is
    one malformed record. An article is held at a time.

    Raises:
        DatasetError: the file cannot be read, is no JSON, or has no list `data`.
    """

    def __init__(self, path: str | Path) -> None:
        self._articles = JsonItems(path, "data")

    def __iter__(self) -> Iterator[Placed]:
        for place, article in self._articles:
            try:
                paragraphs = field(article, "paragraphs", list, place)
                title = field(article, "title", str, place) if "title" in article else None
            except DatasetError as error:
                yield place, error
                continue
            for number, paragraph in enumerate(paragraphs):
                at = f"{place}.paragraphs[{number}]"
                try:
                    context = field(paragraph, "context", str, at)
                    qas = field(paragraph, "qas", list, at)
                except DatasetError as error:
                    yield at, error
                    continue
                for index, qa in enumerate(qas):
                    yield f"{at}.qas[{index}]", SquadRecord(qa, context, title)


def squad_example(record: SquadRecord, place: str) -> Example:
    """The example of a record: the answer is the first one, the different others are aliases.

    Raises:
        Unusable: the question cannot be answered, or has no answers as in a test set.
        DatasetError: the record is malformed.
    """
    qa, context, title = record
    id = identifier(qa, "id", place)
    place = f"{place} (id {id!r})"
    question = question_text(qa, "question", place)
    impossible = "is_impossible" in qa and field(qa, "is_impossible", bool, place)
    listed = field(qa, "answers", (list, type(None)), place) if "answers" in qa else None
    found = [
        field(answer, "text", str, f"{place}.answers[{number}]")
        for number, answer in enumerate(listed or ())
    ]
    answers = texts(found, "text", place)
    if impossible or not answers:
        raise Unusable("unanswerable")
    metadata = {} if title is None else {"title": title}
    return Example(id, question, answers[0], answers[1:], context=context, metadata=metadata)
