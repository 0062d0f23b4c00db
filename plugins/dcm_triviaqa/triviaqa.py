"""TriviaQA."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from dcm import Example
from dcm.reading import (
    Collected,
    DprRecord,
    HubDataset,
    JsonItems,
    Placed,
    Unusable,
    dpr_lines,
    field,
    head,
    identifier,
    json_lines,
    numbered,
    question_text,
    texts,
    written,
)

_DOCUMENT = re.compile(rb'\{(\s*"(Data|Domain|Split|VerifiedEval|Version)"|\s*\n)')
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))  # noqa: RUF001
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHHELD = "<unk>"  # stands for the answer in the hub's test split


@attrs.frozen
class TriviaQa(HubDataset):
    """TriviaQA (Joshi et al. 2017, arXiv 1705.03551).

    A file is one of, told apart by what it holds:

    - the official JSON, of any domain and split; its evidence is not needed,
    - JSONL, or a JSON list, of records as on the Hugging Face hub, {question, question_id,
      answer: {value, aliases}},
    - JSONL with {context, answer, aliases}, the context being "Question: ... Answer:",
    - JSONL with {id, question, golden_answers},
    - TSV as of DPR: a question and a Python list of answers.

    The answer is the official value, or the first one given; all others are aliases. Ids are
    those of the records, else the line: "triviaqa-000012". Questions without an answer, as in
    test sets, are left out and counted; so are records that repeat a question for other evidence,
    as "repeated". Grades are exact match and F1 of the official script.

    Attributes:
        path: a file, which may be a Parquet file of the hub; or
        hub: the name of a set on the Hugging Face hub, such as "mandarjoshi/trivia_qa".
        config: the hub set's configuration, such as "rc.nocontext".
        split: the hub set's split.
        on_error: "skip" leaves out malformed records, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
        verified: take only questions of the official JSON that people have verified
            (`QuestionPartOfVerifiedEval`), and count the others as "not verified".
    """

    verified: bool = False

    def read(self) -> Collected:
        return self.choose(_records, self._example, self._example, repeats=True)

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """`exact_match` and `f1` over the answer and its aliases, as the official script does."""
        accepted = [normalise(each).split() for each in (example.answer, *example.aliases)]
        words = normalise(text).split()
        return {
            "exact_match": float(words in accepted),
            "f1": max(_f1(words, wanted) for wanted in accepted),
        }

    def _example(self, record: Any, place: str) -> Example:
        if isinstance(record, DprRecord):
            return _of_list(numbered("triviaqa", place), record.question, record.answers)
        if isinstance(record, dict) and "Question" in record:
            return self._official(record, place)
        if self.verified:
            raise Unusable("not verified")
        return _simple(record, place)

    def _official(self, record: Any, place: str) -> Example:
        id = identifier(record, "QuestionId", place)
        place = f"{place} (id {id!r})"
        question = question_text(record, "Question", place)
        mark = "QuestionPartOfVerifiedEval"
        if self.verified and not (mark in record and field(record, mark, bool, place)):
            raise Unusable("not verified")
        if "Answer" not in record:
            raise Unusable("without an answer")
        answer = field(record, "Answer", dict, place)
        more = written(answer.get("HumanAnswers"), "HumanAnswers", place)
        value = field(answer, "Value", str, place)
        listed = field(answer, "Aliases", (list, type(None)), place)
        aliases = texts(listed or (), "Aliases", place)
        return _of_list(id, question, (value, *aliases, *more))


def normalise(text: str) -> str:
    """Lower case, without punctuation, underscores, articles and repeated white space.

    Source: `normalize_answer` of the official `triviaqa_evaluation.py`. Unlike SQuAD's, it puts a
    space where punctuation was.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def _records(path: str) -> Iterable[Placed]:
    start = head(path)
    if start.startswith(b"["):
        return JsonItems(path)
    if not start.startswith(b"{"):
        return dpr_lines(path)
    return JsonItems(path, "Data") if _DOCUMENT.match(start) else json_lines(path)


def _simple(record: Any, place: str) -> Example:
    """The example of a record of the hub or of one of the simple JSONL layouts."""
    if isinstance(record, dict) and "golden_answers" in record:
        id = identifier(record, "id", place)
        answers = field(record, "golden_answers", list, place)
        question = question_text(record, "question", place)
        return _of_list(id, question, texts(answers, "golden_answers", place))
    answer = field(record, "answer", (dict, str), place)
    if isinstance(answer, str):
        framed = question_text(record, "context", place).strip()
        question = framed.removeprefix("Question:").removesuffix("Answer:").strip()
        aliases = texts(field(record, "aliases", list, place), "aliases", place)
        return _of_list(numbered("triviaqa", place), question, (answer, *aliases))
    id = identifier(record, "question_id", place)
    place = f"{place} (id {id!r})"
    value = field(answer, "value", str, place)
    aliases = texts(field(answer, "aliases", list, place), "aliases", place)
    question = question_text(record, "question", place)
    return _of_list(id, question, () if value == _WITHHELD else (value, *aliases))


def _of_list(id: str, question: str, answers: Sequence[str]) -> Example:
    distinct = [each for each in dict.fromkeys(answers) if each.strip()]
    if not distinct:
        raise Unusable("without an answer")
    return Example(id, question, distinct[0], distinct[1:])
