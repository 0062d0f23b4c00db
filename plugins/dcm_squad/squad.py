"""SQuAD 1.1 and 2.0."""

from __future__ import annotations

from typing import Any

import attrs

from dcm import Example
from dcm.reading import Collected, HubDataset, SquadFile, SquadRecord, field, squad_example


@attrs.frozen
class Squad(HubDataset):
    """SQuAD 1.1 or 2.0 (Rajpurkar et al. 2016, 2018), and sets published in its layout.

    The answer is the first one given, the different others are aliases; the passage is the
    context, the article's title is `metadata["title"]`, and ids are those of the records.
    Questions that cannot be answered, and those whose answers are withheld as in a test set, are
    left out and counted as "unanswerable". Grades are exact match and F1 of the official script.

    Attributes:
        path: the official JSON file, or a Parquet file of the hub; or
        hub: the name of a set on the Hugging Face hub, such as "rajpurkar/squad_v2".
        config: the hub set's configuration, where it has several.
        split: the hub set's split.
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
        on_error: "skip" leaves out malformed records, "stop" raises.
    """

    def read(self) -> Collected:
        return self.choose(SquadFile, squad_example, _hub_example)


def _hub_example(record: Any, place: str) -> Example:
    found = field(record, "answers", (dict, type(None)), place) if "answers" in record else None
    answers = [{"text": text} for text in field(found, "text", list, place)] if found else []
    context = field(record, "context", str, place)
    title = field(record, "title", str, place) if "title" in record else None
    return squad_example(SquadRecord({**record, "answers": answers}, context, title), place)
