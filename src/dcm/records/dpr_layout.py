"""The TSV layout of question-answer pairs of DPR (Karpukhin et al. 2020, arXiv 2004.04906).

A line is a question, a tab and the accepted answers as a Python list. Either may be quoted as in
CSV: between quotation marks, its own quotation marks doubled. Of a list that was printed as an
array, without commas, each text is an answer too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from pathlib import Path
from typing import NamedTuple

from dcm.errors import DatasetError
from dcm.records.lines import TextLines
from dcm.records.reading import texts

_FOLLOWING = re.compile(r"""['"]\s*['"]""")


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
            found = ast.literal_eval(_with_commas(_unquoted(answers).strip()))
    except (
        ValueError,
        SyntaxError,
        TypeError,
        MemoryError,
        RecursionError,
        tokenize.TokenError,
    ) as error:
        there = f"It is {answers[:40]!r}"
        raise DatasetError("the answers are no list of texts", there, place=place) from error
    return DprRecord(_unquoted(question), texts(found, "answers", place))


def _with_commas(listed: str) -> str:
    """A list with a comma between texts that follow each other, which Python would join."""
    if not _FOLLOWING.search(listed):
        return listed
    found, last = [], None
    for token in tokenize.generate_tokens(io.StringIO(listed.replace("\n", " ")).readline):
        if token.type == last == tokenize.STRING:
            found.append(",")
        found.append(token.string)
        last = token.type
    return " ".join(found)


def _unquoted(cell: str) -> str:
    inner = cell[1:-1].replace('""', "\0")
    if len(cell) < 2 or not cell[0] == cell[-1] == '"' or '"' in inner:
        return cell
    return inner.replace("\0", '"')
