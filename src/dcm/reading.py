"""Reading records from files and hubs, with the place of whatever is wrong.

This is all that a data set needs: sources of records (`json_lines`, `text_lines`, `csv_rows`,
`ParquetRows`, `JsonItems`, `json_document`, `hub_records`, all files of a folder by `files_in`),
checks of a record (`field`, `identifier`, `texts`, `written`) and the choice among its examples
(`collect`, `StoredDataset`, `HubDataset`); and the layouts that many sets are published in, SQuAD's
(`SquadFile`) and DPR's (`dpr_lines`).

Files are read as a stream: a file of gigabytes takes no more memory than one record and, where
all of its lines are wanted, 24 bytes a line. A name that ends in .gz or .xz is decompressed.
"""

from __future__ import annotations

from dcm.records.choosing import Collected, OnError, Placed, Source, Unusable, collect
from dcm.records.csv_rows import CsvRows, csv_rows
from dcm.records.documents import JsonItems
from dcm.records.dpr_layout import DprRecord, dpr_lines
from dcm.records.files import open_bytes, open_text, path_text
from dcm.records.folder import Chained, files_in
from dcm.records.lines import TextLines, json_lines, text_lines
from dcm.records.parquet_rows import ParquetRows
from dcm.records.reading import (
    field,
    head,
    identifier,
    json_document,
    numbered,
    parse_json,
    question_text,
    spelling,
    texts,
    written,
)
from dcm.records.squad_layout import SquadFile, SquadRecord, squad_example
from dcm.records.stored import HubDataset, StoredDataset, hub_records

__all__ = [
    "Chained",
    "Collected",
    "CsvRows",
    "DprRecord",
    "HubDataset",
    "JsonItems",
    "OnError",
    "ParquetRows",
    "Placed",
    "Source",
    "SquadFile",
    "SquadRecord",
    "StoredDataset",
    "TextLines",
    "Unusable",
    "collect",
    "csv_rows",
    "dpr_lines",
    "field",
    "files_in",
    "head",
    "hub_records",
    "identifier",
    "json_document",
    "json_lines",
    "numbered",
    "open_bytes",
    "open_text",
    "parse_json",
    "path_text",
    "question_text",
    "spelling",
    "squad_example",
    "text_lines",
    "texts",
    "written",
]
