"""Tables: question-answer pairs of one's own, in the files that people have."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component("pairs", "dcm_tables.pairs:Pairs", "your own pairs, given in Python"),
        Component("csv", "dcm_tables.csv:Csv", "your own pairs, a CSV file with a header"),
        Component("tsv", "dcm_tables.tsv:Tsv", "your own pairs, a header and tabs"),
        Component("jsonl", "dcm_tables.jsonl:Jsonl", "your own pairs, a JSON object a line"),
        Component("json", "dcm_tables.json:Json", "your own pairs, a JSON list of objects"),
        Component("parquet", "dcm_tables.parquet:Parquet", "your own pairs, a Parquet file"),
    ]
