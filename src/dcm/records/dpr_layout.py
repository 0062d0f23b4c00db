"""The TSV layout of question-answer pairs of DPR (Karpukhin et al. 2020, arXiv 2004.04906).

A line is a question, a tab and the accepted answers as a Python list. Either may be quoted as in
CSV: between quotation marks, its own quotation marks doubled.
"""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import NamedTuple

from dcm.errors import DatasetError
from dcm.records.reading import TextLines, texts


class DprRecord(NamedTuple):
    """A question and its accepted answers."""

    question: str
    answers: tuple[str, ...]


def dpr_lines(path: str | Path) -> TextLines:
    """(place, `DprRecord`) for every line of a file that is not blank.

    Raises:
        DatasetError: the file cannot be read, or a line has another layout.
    """
    return TextLines(path, _record)


def _record(line: str, place: str) -> DprRecord:
    question, tab, answers = line.rpartition("\t")
    if not tab:
        do = "A line is a question, a tab and a list of answers"
        raise DatasetError("the line has no tab", "", do, place=place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of "\d" in the texts
            found = ast.literal_eval(_unquoted(answers).strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        there = f"It is {answers[:40]!r}"
        raise DatasetError("the answers are no list of texts", there, place=place) from error
    return DprRecord(_unquoted(question), texts(found, "answers", place))


def _unquoted(cell: str) -> str:
    inner = cell[1:-1].replace('""', "\0")
    if len(cell) < 2 or not cell[0] == cell[-1] == '"' or '"' in inner:
        return cell
    return inner.replace("\0", '"')
