"""The rows of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcm.errors import DatasetError
from dcm.records.choosing import Placed
from dcm.records.files import open_bytes

_ROWS = 1024  # are held at a time


class ParquetRows:
    """(place, column -> value) for every row of a Parquet file; the place is "file: [row]".

    It can be iterated again; each time the file is read anew.

    Args:
        path: the file.

    Raises:
        DatasetError: the file cannot be read or is no Parquet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Placed]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with open_bytes(self.path) as file:
            try:
                batches = pq.ParquetFile(file).iter_batches(_ROWS)
                rows: Iterator[Any] = (row for batch in batches for row in batch.to_pylist())
                for number, row in enumerate(rows):
                    yield f"{self.path}: [{number}]", row
            except pa.ArrowException as error:
                there = str(error).splitlines()[0]
                raise DatasetError("the file is no Parquet", there, place=str(self.path)) from error
