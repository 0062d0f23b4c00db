"""Kept: every reply on disk, so that none is paid for twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcm.errors import UsageError
from dcm.paraphrasing.writer import Reply


class Kept:
    """Replies in a JSONL file, by what was asked. A line is whole or cut off when it is opened.

    Args:
        path: the file; made when the first reply comes.

    Raises:
        UsageError: it is there and holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Reply] = {}
        self._complete = 0
        if path.exists():
            for number, (line, self._complete) in enumerate(_lines(path), start=1):
                try:
                    record: dict[str, Any] = json.loads(line)
                    counts = record["input_tokens"], record["output_tokens"]
                    self._found[record["key"]] = Reply(record["text"], *counts)
                except (ValueError, KeyError, TypeError) as error:
                    asked = f"{path}:{number} is no kept reply"
                    raise UsageError(asked, str(error), "Choose another --out") from error

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: str) -> Reply | None:
        """The reply to what was asked under this key."""
        return self._found.get(key)

    def put(self, key: str, reply: Reply, **about: object) -> None:
        """Write a reply, and be sure that it is on disk."""
        record = {
            "key": key,
            **about,
            "text": reply.text,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
        }
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        mode = "r+b" if self._path.exists() else "wb"
        with self._path.open(mode) as file:
            file.seek(self._complete)
            file.truncate()
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._complete += len(line)
        self._found[key] = reply


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """The whole lines of a file, and where each ends."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line, end
