"""Natural Questions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from dcm import DatasetError, Example, normalised_match, token_f1
from dcm.reading import (
    Collected,
    DprRecord,
    HubDataset,
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
)

_TAG = re.compile(r"<[^>]+>")


@attrs.frozen
class NaturalQuestions(HubDataset):
    """Natural Questions (Kwiatkowski et al. 2019) and NQ-open (Lee et al. 2019, arXiv 1906.00300).

    A file is one of, told apart by what it holds:

    - NQ-open JSONL, {question, answer: [...]},
    - simplified Natural Questions JSONL, {question_text, document_text, annotations, example_id},
    - TSV as of DPR: a question and a Python list of answers.

    The answer is the first one, the different others are aliases. Of the simplified layout the
    answers are the short ones, "yes" and "no" of all annotators, and the context is the first
    long answer that holds one. Questions without such an answer are left out and counted. Ids
    are `example_id`, else the line: "nq-000012". Grades are exact match, as in the NQ-open
    evaluation, and F1.

    Attributes:
        path: a file, which may be a Parquet file of the hub; or
        hub: the name of an NQ-open set on the Hugging Face hub, such as
            "google-research-datasets/nq_open".
        config: the hub set's configuration, where it has several.
        split: the hub set's split.
        on_error: "skip" leaves out malformed records, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
    """

    def read(self) -> Collected:
        return self.choose(_records, _example, _open)

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """`exact_match` and `f1` over the answer and its aliases, after the normalisation of the
        NQ-open evaluation: SQuAD's, with accents taken apart from their letters."""
        found = unicodedata.normalize("NFD", text)
        accepted = [
            unicodedata.normalize("NFD", each) for each in (example.answer, *example.aliases)
        ]
        return {
            "exact_match": max(float(normalised_match(found, each)) for each in accepted),
            "f1": max(token_f1(found, each) for each in accepted),
        }


def _records(path: str) -> Iterable[Placed]:
    return json_lines(path) if head(path).startswith(b"{") else dpr_lines(path)


def _example(record: Any, place: str) -> Example:
    if isinstance(record, DprRecord):
        return _of_list(numbered("nq", place), record.question, record.answers)
    if isinstance(record, dict) and ("document_text" in record or "annotations" in record):
        return _simplified(record, place)
    return _open(record, place)


def _open(record: Any, place: str) -> Example:
    question = question_text(record, "question", place)
    answers = texts(record.get("answer", ()), "answer", place)
    return _of_list(numbered("nq", place), question, answers)


def _simplified(record: Any, place: str) -> Example:
    id = identifier(record, "example_id", place)
    place = f"{place} (id {id!r})"
    question = question_text(record, "question_text", place)
    words = field(record, "document_text", str, place).split(" ")
    answers: list[str] = []
    context = None
    for number, annotation in enumerate(field(record, "annotations", list, place)):
        at = f"{place}.annotations[{number}]"
        spans = field(annotation, "short_answers", list, at)
        found = [_span(words, span, f"{at}.short_answers[{i}]") for i, span in enumerate(spans)]
        verdict = field(annotation, "yes_no_answer", str, at).lower()
        answers += found or ([verdict] if verdict in ("yes", "no") else [])
        if answers and context is None:
            context = _long_answer(words, annotation, at)
    return _of_list(id, question, [each for each in answers if each], context)


def _long_answer(words: Sequence[str], annotation: Any, place: str) -> str | None:
    span = field(annotation, "long_answer", dict, place) if "long_answer" in annotation else {}
    if span.get("start_token", -1) == -1:
        return None
    return _span(words, span, f"{place}.long_answer") or None


def _span(words: Sequence[str], span: Any, place: str) -> str:
    """The words of a span, without HTML tags."""
    start, end = (field(span, name, int, place) for name in ("start_token", "end_token"))
    if not 0 <= start < end <= len(words):
        there = f"The document has {len(words)} tokens"
        raise DatasetError(f"there is no span {start}:{end}", there, place=place)
    return " ".join(word for word in words[start:end] if word and not _TAG.fullmatch(word))


def _of_list(id: str, question: str, answers: Sequence[str], context: str | None = None) -> Example:
    if not question.strip():
        raise Unusable("without a question")
    if not answers:
        raise Unusable("without an answer")
    first, *others = dict.fromkeys(answers)
    return Example(id, question, first, others, context=context)
