"""HotpotQA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs

from dcm import DatasetError, Example, normalise
from dcm.reading import (
    Collected,
    HubDataset,
    JsonItems,
    Placed,
    Unusable,
    field,
    head,
    identifier,
    json_lines,
    numbered,
    question_text,
)

_VERDICTS = ("yes", "no", "noanswer")


@attrs.frozen
class HotpotQa(HubDataset):
    """HotpotQA (Yang et al. 2018, arXiv 1809.09600).

    A file is a JSON list or JSONL of records in the official layout, distractor or fullwiki, in
    that of the Hugging Face hub, or with no more than question and answer. The context is the
    paragraphs that the supporting facts name, as far as they are there; `type` and `level` are
    metadata. Ids are `_id` or `id`, else the index or line: "hotpotqa-000012". Questions without
    an answer, as in test sets, are left out and counted.

    Attributes:
        path: a file, which may be a Parquet file of the hub; or
        hub: the name of a set on the Hugging Face hub, such as "hotpotqa/hotpot_qa".
        config: the hub set's configuration, such as "distractor".
        split: the hub set's split.
        on_error: "skip" leaves out malformed records, "stop" raises.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
    """

    def read(self) -> Collected:
        return self.choose(_records, _example, _example)

    def grade(self, example: Example, text: str) -> dict[str, float]:
        """`exact_match` and `f1` as `hotpot_evaluate_v1.py` gives them.

        Where the text or the answer is yes, no or noanswer, the F1 of different ones is 0.
        """
        found, wanted = normalise(text), normalise(example.answer)
        return {"exact_match": float(found == wanted), "f1": _f1(found, wanted)}


def _f1(found: str, wanted: str) -> float:
    if found != wanted and (found in _VERDICTS or wanted in _VERDICTS):
        return 0.0
    common = sum((Counter(found.split()) & Counter(wanted.split())).values())
    return 2 * common / (len(found.split()) + len(wanted.split())) if common else 0.0


def _records(path: str) -> Iterable[Placed]:
    return json_lines(path) if head(path).startswith(b"{") else JsonItems(path)


def _example(record: Any, place: str) -> Example:
    question = question_text(record, "question", place)
    name = next((name for name in ("_id", "id") if name in record), None)
    id = identifier(record, name, place) if name else numbered("hotpotqa", place)
    place = f"{place} (id {id!r})"
    answer = field(record, "answer", (str, type(None)), place) if "answer" in record else None
    if not (answer and answer.strip()):
        raise Unusable("without an answer")
    kinds = [name for name in ("type", "level") if name in record]
    metadata = {name: field(record, name, str, place) for name in kinds}
    return Example(id, question, answer, context=_context(record, place), metadata=metadata)


def _context(record: Any, place: str) -> str | None:
    """The supporting paragraphs, a line each."""
    if "context" not in record or "supporting_facts" not in record:
        return None
    facts = _pairs(record, "supporting_facts", "sent_id", place)
    paragraphs = dict(_pairs(record, "context", "sentences", place))
    found = []
    for title in dict.fromkeys(title for title, _ in facts):
        sentences = paragraphs.get(title, [])
        if not (isinstance(sentences, list) and all(isinstance(each, str) for each in sentences)):
            raise DatasetError(f"paragraph {title!r} must be a list of texts", place=place)
        found.append("".join(sentences))
    return "\n".join(each for each in found if each.strip()) or None


def _pairs(record: Any, name: str, second: str, place: str) -> list[tuple[str, Any]]:
    """(title, value) pairs: a list of them officially, an object of two lists on the hub."""
    value = field(record, name, (list, dict), place)
    pairs: Any = value
    if isinstance(value, dict):
        at = f"{place}.{name}"
        pairs = list(
            zip(field(value, "title", list, at), field(value, second, list, at), strict=True)
        )
    for index, pair in enumerate(pairs):
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            asked = f"a title and its {second} are expected"
            raise DatasetError(asked, place=f"{place}.{name}[{index}]")
    return [(title, each) for title, each in pairs]
