"""Tables: question-answer pairs of one's own, as JSONL or CSV."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component("jsonl", "dcm_tables.jsonl:Jsonl", "your own pairs, a JSON object a line"),
        Component("csv", "dcm_tables.csv:Csv", "your own pairs, a CSV file with a header"),
    ]
