"""Files of JSON lines as the tables that MLflow shows and `mlflow.load_table` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TABLES = {"results.jsonl": "examples.json", "cells.jsonl": "cells.json"}
"""File of a run -> the table that is made of it."""

_LEFT_OUT = ("content", "example", "baselines", "variant_losses")


def write_table(lines: Path, table: Path) -> bool:
    """Write a table of a file's lines; whether there are any.

    Nested values become columns named with dots, such as `losses.answer`.
    """
    rows, columns = list[dict[str, Any]](), dict[str, None]()
    with lines.open(encoding="utf-8") as file:
        for line in file:
            try:
                row = dict(_flat(json.loads(line)))
            except ValueError:
                continue  # cut off while it was written
            rows.append(row)
            columns |= dict.fromkeys(row)
    data = [[row.get(column) for column in columns] for row in rows]
    table.write_text(
        json.dumps({"columns": list(columns), "data": data}, ensure_ascii=False), encoding="utf-8"
    )
    return bool(rows)


def _flat(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in row.items():
        if key in _LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            found += [(f"{key}.{name}", each) for name, each in _flat(value)]
        else:
            found.append((key, value))
    return found
