"""CurveParts: the loss curves of a run, written in parts and joined at its end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcm.running.disk import on_disk, settle

CURVES = "curves.parquet"
_PART = re.compile(r"curves\.(\d{1,12})\.part")


class CurveParts:
    """The curves of a run directory.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a part.

        Raises:
            DcmError: the disk refuses it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if rows:
            self._reopen()
            number = max((each for each, _ in self._parts()), default=-1) + 1
            part = self.folder / f"curves.{number:05d}.part"
            temporary = part.with_suffix(".tmp")
            with on_disk(part):
                pq.write_table(pa.Table.from_pylist(list(rows), schema=_schema()), temporary)
                settle(temporary, part)

    def join(self) -> tuple[list[Path], list[str]]:
        """Join the parts; which they were, and what was damaged and is put aside."""
        import pyarrow.parquet as pq

        self._reopen()
        # Later parts win: an example whose line was not yet written is solved again.
        owner: dict[str, int] = {}
        damaged: list[str] = []
        for number, part in self._parts():
            try:
                table = pq.read_table(part, schema=_schema())
                table.validate(full=True)
                owner |= dict.fromkeys(table["id"].unique().to_pylist(), number)
            except Exception as error:  # noqa: BLE001 - Arrow raises many kinds
                aside = self.folder / f"curves.{number:05d}.damaged"
                with on_disk(aside):
                    part.replace(aside)
                why = str(error).partition("\n")[0]
                damaged.append(f"{aside.name} holds curves that cannot be read ({why})")
        parts = self._parts()
        if parts:
            temporary = self.folder / f"{CURVES}.tmp"
            with on_disk(self.folder / CURVES):
                with pq.ParquetWriter(temporary, _schema()) as writer:
                    for number, part in parts:
                        table = pq.read_table(part, schema=_schema())
                        mine = [owner[key] == number for key in table["id"].to_pylist()]
                        writer.write_table(table.filter(mine))
                settle(temporary, self.folder / CURVES)
        return [part for _, part in parts], damaged

    def problem(self) -> str:
        """What is wrong with the joined curves; empty where nothing is."""
        import pyarrow.parquet as pq

        if not (self.folder / CURVES).exists():
            return ""
        if not (self.folder / CURVES).is_file():
            return f"{CURVES} is no file"
        try:
            pq.read_table(self.folder / CURVES, schema=_schema()).validate(full=True)
        except Exception as error:  # noqa: BLE001 - Arrow raises many kinds
            return f"{CURVES} cannot be read ({str(error).partition(chr(10))[0]})"
        return ""

    def _parts(self) -> list[tuple[int, Path]]:
        found = ((_PART.fullmatch(path.name), path) for path in self.folder.glob("curves.*.part"))
        return sorted((int(match[1]), path) for match, path in found if match and path.is_file())

    def _reopen(self) -> None:
        """Make joined curves a part again: others come, or it was killed while it removed parts."""
        joined = self.folder / CURVES
        if joined.is_file():
            with on_disk(joined):
                settle(joined, self.folder / "curves.00000.part")


def _schema() -> Any:
    import pyarrow as pa

    fields = [("id", pa.string()), ("attempt", pa.int32()), ("step", pa.int32())]
    numbers = [("loss", pa.float32()), ("cosine", pa.float32())]
    return pa.schema([*fields, ("mode", pa.string()), *numbers])
