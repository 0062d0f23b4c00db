"""Question-answer pairs in columns."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs

from dcm import DatasetError, Example
from dcm.fields import one_of
from dcm.reading import (
    Chained,
    Collected,
    OnError,
    Placed,
    StoredDataset,
    Unusable,
    collect,
    field,
    files_in,
    identifier,
    path_text,
    spelling,
    written,
)

_ANSWER, _ANSWERS = "answer", "answers"


def _columns(names: str | Iterable[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (names,) if isinstance(names, str) else tuple(names)


def _names(instance: object, attribute: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    if not all(isinstance(each, str) for each in value):
        raise ValueError(f"{attribute.name} must be names of columns, not {value!r}")


@attrs.frozen
class Table(StoredDataset):
    """Pairs in columns of a file, or of all files of a kind in a folder; subclasses say how they
    are read. Names of columns may differ in case.

    Attributes:
        path: the file, or a folder of them.
        question: the column of the question.
        answer: the column of the answer: a text or number, or a list of which the first is the
            answer and the others are accepted too. The default takes `answers` as well.
        id: the column of the id; None makes the number of the row's line the id, after the file's
            name where path is a folder.
        context: the column of a passage the answer can be read from; None if there is none.
        aliases: the columns of other accepted answers, a name or several.
        variants: the columns of paraphrases of the question, a name or several.
        answer_variants: likewise of the answer.
        on_error: "skip" leaves out malformed rows, "stop" raises.
    """

    endings: ClassVar[tuple[str, ...]]
    """How the names of such files end."""

    path: str = attrs.field(converter=path_text)
    question: str = "question"
    answer: str = _ANSWER
    id: str | None = None
    context: str | None = None
    aliases: tuple[str, ...] = attrs.field(default=(), converter=_columns, validator=_names)
    variants: tuple[str, ...] = attrs.field(default=(), converter=_columns, validator=_names)
    answer_variants: tuple[str, ...] = attrs.field(default=(), converter=_columns, validator=_names)
    on_error: OnError = attrs.field(default="stop", validator=one_of("stop", "skip"))

    @abstractmethod
    def rows(self, path: Path) -> Iterable[Placed]:
        """The rows of one file, each an object with the columns."""

    def remark(self, rows: Iterable[Placed]) -> str:
        """What a reader should know of how a file was read; empty where that is nothing."""
        return ""

    def answer_column(self, names: Iterable[str]) -> str:
        """The column of the answer, among these names."""
        names = tuple(names)
        there = {spelling(names, each) for each in (_ANSWER, _ANSWERS)} & {*names}
        default = self.answer == _ANSWER and spelling(names, _ANSWER) not in there
        return _ANSWERS if default and there else self.answer

    def read(self) -> Collected:
        files = files_in(self.path, *self.endings)
        sources = [self.rows(file) for file in files]
        folder = Path(self.path).expanduser().is_dir()
        collected = collect(
            Chained(sources) if folder else sources[0],
            self._of_folder if folder else self._example,
            offset=self.offset,
            limit=self.limit,
            seed=self.seed,
            on_error=self.on_error,
        )
        told = zip(files, map(self.remark, sources), strict=True)
        return attrs.evolve(
            collected, remarks=tuple(f"{file.name}: {remark}" for file, remark in told if remark)
        )

    def _of_folder(self, row: Any, place: str) -> Example:
        example = self._example(row, place)
        if self.id is not None:
            return example
        file = Path(place.rpartition(":")[0]).name.partition(".")[0]
        return attrs.evolve(example, id=f"{file}-{example.id}")

    def _example(self, row: Any, place: str) -> Example:
        questions = self._texts(row, self.question, place)
        if not questions:
            raise Unusable("without a question")
        if len(questions) > 1:
            do = "Name the column of the others by the field variants"
            asked = f"field {self.question!r} holds {len(questions)} questions"
            raise DatasetError(asked, "A row has one", do, place=place)
        answers = self._texts(row, self.answer_column(row), place)
        if not answers:
            raise Unusable("without an answer")
        more = (text for name in self.aliases for text in self._texts(row, name, place))
        variants = {
            "question": self._all(row, self.variants, place),
            "answer": self._all(row, self.answer_variants, place),
        }
        return Example(
            identifier(row, spelling(row, self.id), place) if self.id else _number(place),
            questions[0],
            answers[0],
            aliases=[each for each in dict.fromkeys((*answers, *more)) if each != answers[0]],
            variants=variants,
            context=self._passage(row, place),
        )

    def _all(self, row: Any, names: Iterable[str], place: str) -> tuple[str, ...]:
        found = (text for name in names for text in self._texts(row, name, place))
        return tuple(dict.fromkeys(found))

    def _texts(self, row: Any, name: str, place: str) -> tuple[str, ...]:
        if not isinstance(row, dict):
            raise DatasetError(f"an object is expected, not {type(row).__name__}", place=place)
        return written(field(row, spelling(row, name), object, place), name, place)

    def _passage(self, row: Any, place: str) -> str | None:
        if self.context is None:
            return None
        return field(row, spelling(row, self.context), (str, type(None)), place) or None


def _number(place: str) -> str:
    """The line or index that a place ends with."""
    return str(re.findall("[0-9]+", place)[-1])
