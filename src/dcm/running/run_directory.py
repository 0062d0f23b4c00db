"""RunDirectory: everything a run leaves behind, written as it happens.

Whatever is interrupted, a line of results.jsonl is whole or absent, and what it names exists: the
content is on disk before the line is. A directory so cut off is opened again and goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm.errors import RunDirectoryError
from dcm.running.provenance import ORIGIN

if TYPE_CHECKING:
    from torch import Tensor

EXPERIMENT = "experiment.json"
RESULTS = "results.jsonl"
SUMMARY = "summary.json"
CURVES = "curves.parquet"

ContentRef = dict[str, str]
"""Where a content is: `{"file": "content/00000.safetensors", "key": example id}`."""


class RunDirectory:
    """A run's folder. Use `create` or `resume`.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._refs: dict[str, ContentRef] = {}

    @classmethod
    def create(cls, path: str | Path, description: Mapping[str, Any]) -> RunDirectory:
        """Start a new run in a folder that is absent or empty.

        Raises:
            RunDirectoryError: something is there already.
        """
        path = Path(path)
        cls.check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / EXPERIMENT, description)
        run = cls(path)
        run._complete()
        return run

    @staticmethod
    def check_free(path: Path) -> None:
        """Refuse a folder in which a new run must not start.

        Raises:
            RunDirectoryError: something is there already.
        """
        if (path / EXPERIMENT).exists():
            do = "Go on with it by --resume, or choose another folder"
            raise RunDirectoryError(f"{path} holds a run already", "", do)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            there = "It is not empty and no run" if path.is_dir() else "It is no folder"
            raise RunDirectoryError(
                f"{path} cannot take a run", there, "Choose an empty or new folder"
            )

    @classmethod
    def resume(cls, path: str | Path, description: Mapping[str, Any]) -> RunDirectory:
        """Go on with the run in a folder.

        Raises:
            RunDirectoryError: there is no run, or it is one of another experiment.
        """
        run = cls.open(path)
        before = json.loads((run.path / EXPERIMENT).read_text(encoding="utf-8"))
        for key in sorted({*before, *description} - {*ORIGIN}):
            if before.get(key) != description.get(key):
                asked = f"{path} is a run of another experiment"
                was, now = _short(before.get(key)), _short(description.get(key))
                there = f"{key} was {was}, now it is {now}"
                do = "Repeat its options, or choose another folder"
                raise RunDirectoryError(asked, there, do)
        run._complete()
        run._drop_torn_line()
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open a run to read it.

        Raises:
            RunDirectoryError: there is none.
        """
        path = Path(path)
        if not (path / EXPERIMENT).is_file():
            there = "It has no experiment.json" if path.is_dir() else "There is no such folder"
            raise RunDirectoryError(f"{path} is no run", there, "Name the folder of a run")
        return cls(path)

    def results(self) -> Iterator[dict[str, Any]]:
        """The lines of results.jsonl, one per finished example."""
        with (self.path / RESULTS).open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)

    def append(self, result: Mapping[str, Any]) -> None:
        """Write one finished example, and be sure that it is on disk."""
        line = json.dumps(result, ensure_ascii=False, allow_nan=False)
        with (self.path / RESULTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def save_contents(
        self, contents: Mapping[str, Tensor], modes: Mapping[str, Tensor], layout: str
    ) -> None:
        """Write a shard of contents.

        Args:
            contents: example id -> [K, D] float32.
            modes: mode -> [D] float32; every shard has the vectors it needs.
            layout: where the mode vector stands.
        """
        from safetensors.torch import save_file

        name = f"content/{self._next_shard():05d}.safetensors"
        tensors = {f"content/{key}": value.contiguous() for key, value in contents.items()}
        # A copy each: safetensors refuses tensors that share memory.
        tensors |= {f"mode/{key}": value.detach().cpu().clone() for key, value in modes.items()}
        temporary = self.path / f"{name}.tmp"
        save_file(tensors, temporary, metadata={"layout": layout, "format": "dcm-1"})
        _replace(temporary, self.path / name)
        for key in contents:
            self._refs[key] = {"file": name, "key": f"content/{key}"}

    def ref(self, example_id: str) -> ContentRef:
        """Where the content last saved for an example is."""
        return self._refs[example_id]

    def load_contents(self, refs: Sequence[ContentRef]) -> list[Tensor]:
        """Read contents [K, D] float32 back from disk."""
        from safetensors import safe_open

        loaded: dict[tuple[str, str], Tensor] = {}
        for name in {ref["file"] for ref in refs}:
            with safe_open(self.path / name, framework="pt") as shard:
                for ref in refs:
                    if ref["file"] == name:
                        loaded[name, ref["key"]] = shard.get_tensor(ref["key"])
        return [loaded[ref["file"], ref["key"]] for ref in refs]

    def save_curves(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a part of the loss curves; `finish` joins the parts."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if rows:
            part = self.path / f"curves.{self._next_part():05d}.part"
            temporary = part.with_suffix(".tmp")
            pq.write_table(pa.Table.from_pylist(list(rows), schema=_curve_schema()), temporary)
            _replace(temporary, part)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Join the curves and write the summary."""
        import pyarrow.parquet as pq

        self._reopen_curves()
        parts = sorted(self.path.glob("curves.*.part"))
        if parts:
            # Later parts win: an example whose line was not yet written is solved again.
            owner: dict[str, int] = {}
            for number, part in enumerate(parts):
                for key in pq.read_table(part, columns=["id"])["id"].unique().to_pylist():
                    owner[key] = number
            temporary = self.path / f"{CURVES}.tmp"
            with pq.ParquetWriter(temporary, _curve_schema()) as writer:
                for number, part in enumerate(parts):
                    table = pq.read_table(part, schema=_curve_schema())
                    mine = [owner[key] == number for key in table["id"].to_pylist()]
                    writer.write_table(table.filter(mine))
            _replace(temporary, self.path / CURVES)
        write_json(self.path / SUMMARY, summary)
        for part in parts:
            part.unlink()

    def _next_shard(self) -> int:
        shards = (self.path / "content").glob("*.safetensors")
        return max((int(path.stem) for path in shards), default=-1) + 1

    def _next_part(self) -> int:
        self._reopen_curves()
        parts = self.path.glob("curves.*.part")
        return max((int(path.name.split(".")[1]) for path in parts), default=-1) + 1

    def _reopen_curves(self) -> None:
        """Make joined curves a part again: others come, or it was killed while it removed parts."""
        if (self.path / CURVES).exists():
            _replace(self.path / CURVES, self.path / "curves.00000.part")

    def _complete(self) -> None:
        """Make what a run has from its beginning on; it may have been killed before that."""
        (self.path / "content").mkdir(exist_ok=True)
        (self.path / RESULTS).touch()

    def _drop_torn_line(self) -> None:
        """Cut off a last line that was not written to its end."""
        with (self.path / RESULTS).open("r+b") as file:
            # In place: whoever rewrites a file and is killed meanwhile loses what was in it.
            file.truncate(file.read().rfind(b"\n") + 1)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    _replace(temporary, path)


def _replace(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _curve_schema() -> Any:
    import pyarrow as pa

    fields = [("id", pa.string()), ("attempt", pa.int32()), ("step", pa.int32())]
    return pa.schema([*fields, ("mode", pa.string()), ("loss", pa.float32())])


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
