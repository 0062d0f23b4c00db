"""RunDirectory: everything a run leaves behind, written as it happens.

Whatever is interrupted, a line of results.jsonl is whole or absent, and what it names exists: the
content is on disk before the line is. One process at a time writes. A directory so cut off, or
damaged afterwards, is opened again, checked, and goes on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from dcm.errors import DcmError, RunDirectoryError
from dcm.running.contents import ContentRef, Contents
from dcm.running.curve_parts import CurveParts
from dcm.running.description import check_same, check_unchanged, read_description, sealed
from dcm.running.disk import on_disk, open_file, write_bytes, write_json
from dcm.running.fingerprints import of_value
from dcm.running.kept import sort_lines
from dcm.running.lock import LOCK, Lock
from dcm.running.result_lines import read_lines

if TYPE_CHECKING:
    from torch import Tensor

EXPERIMENT = "experiment.json"
RESULTS = "results.jsonl"
SUMMARY = "summary.json"
SESSIONS = "sessions.json"
DAMAGED = "damaged.jsonl"

# What a run that was killed before it began may have left.
_NOTHING_YET = {LOCK, f"{EXPERIMENT}.tmp"}


class RunDirectory:
    """A run's folder. Use `create`, `resume` or `open`.

    `create` and `resume` hold the folder's lock until `close`, the end of the `with` or of the
    process; `open` reads and holds nothing.

    Args:
        path: the folder.

    Attributes:
        damage: what `resume` and `finish` found damaged and put aside or do again, a line each.
        warnings: what else a user should know, a line each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self.warnings: list[str] = []
        self._contents = Contents(path)
        self._curves = CurveParts(path)
        self._refs: dict[str, ContentRef] = {}
        self._lock: Lock | None = None
        self._made: list[Path] = []
        self._began = time.monotonic()
        self._sessions: list[dict[str, Any]] = []

    @classmethod
    def create(cls, path: str | Path, description: Mapping[str, Any]) -> Self:
        """Start a new run in a folder that is absent or empty.

        Raises:
            RunDirectoryError: something is there already, or another process is about to begin.
            DcmError: the folder cannot be written to.
        """
        run = cls.claim(path)
        run.begin(description)
        return run

    @classmethod
    def resume(
        cls,
        path: str | Path,
        description: Mapping[str, Any],
        examples: Mapping[str, str] | None = None,
    ) -> Self:
        """Go on with the run in a folder; see `claim` and `go_on`."""
        run = cls.claim(path, resume=True)
        try:
            run.go_on(description, examples)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a run to read it.

        Raises:
            RunDirectoryError: there is none.
        """
        path = Path(path)
        with on_disk(path, "read"):
            if not (path / EXPERIMENT).is_file():
                there = "It has no experiment.json" if path.is_dir() else "There is no such folder"
                do = "Name the folder of a run"
                if (path / f"{EXPERIMENT}.tmp").exists():
                    there, do = "It was ended before it began", "Begin it again, without --resume"
                raise RunDirectoryError(f"{path} is no run", there, do)
        return cls(path)

    @classmethod
    def claim(cls, path: str | Path, *, resume: bool = False) -> Self:
        """Take a folder for this process, before anything slow is done.

        `begin` or `go_on` comes next; `close` before that leaves the folder as it was.

        Args:
            path: the folder.
            resume: it holds a run; otherwise it is absent or empty.

        Raises:
            RunDirectoryError: it is not so, or another process writes in it.
            DcmError: the folder cannot be written to.
        """
        path = Path(path)
        if resume:
            cls.open(path)
        else:
            cls.check_free(path)
        with on_disk(path, "made"):
            made = [each for each in (path, *path.parents) if not each.exists()]
            path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        run._lock, run._made = Lock(path), made
        if run._lock.weak:
            run.warnings.append(
                f"{path} is not protected from a second writer: {run._lock.weak}. See to it "
                "yourself that no other process resumes this run"
            )
        if not resume:
            try:  # another process may have begun a run meanwhile, and ended
                cls.check_free(path)
            except BaseException:
                run._made = []
                run.close()
                raise
        return run

    @staticmethod
    def check_free(path: Path) -> None:
        """Refuse a folder in which a new run must not start.

        Raises:
            RunDirectoryError: something is there already.
        """
        with on_disk(path, "made"):
            str(path.absolute()).encode()
        with on_disk(path, "read"):
            if (path / EXPERIMENT).exists():
                do = "Go on with it by --resume, or choose another folder"
                raise RunDirectoryError(f"{path} holds a run already", "", do)
            if not path.exists():
                return
            if not path.is_dir():
                do = "Choose an empty or new folder"
                raise RunDirectoryError(f"{path} cannot take a run", "It is no folder", do)
            if {each.name for each in path.iterdir()} - _NOTHING_YET:
                do = "Choose an empty or new folder"
                raise RunDirectoryError(
                    f"{path} cannot take a run", "It is not empty and no run", do
                )

    def begin(self, description: Mapping[str, Any]) -> None:
        """Write down what the run is; from now on it can be resumed."""
        (self.path / f"{EXPERIMENT}.tmp").unlink(missing_ok=True)
        write_json(self.path / EXPERIMENT, sealed(description))
        self._made = []
        self._complete()
        self._count_session()

    def check_same_experiment(self, description: Mapping[str, Any]) -> None:
        """Refuse to go on with another experiment, as far as that shows without its data.

        Raises:
            RunDirectoryError: what differs.
        """
        before = read_description(self.path / EXPERIMENT)
        check_unchanged(self.path, before)
        check_same(self.path, before, description)

    def go_on(
        self, description: Mapping[str, Any], examples: Mapping[str, str] | None = None
    ) -> None:
        """Check what is there and keep what is sound; `damage` says what is not.

        Lines that are damaged, doubled, of no example or without their content go to
        `damaged.jsonl`, and their examples are done again, as are those that a component failed.

        Args:
            description: what experiment.json would hold now; paths may have moved where the
                fingerprints are the same.
            examples: id -> fingerprint of the run's examples; None where nobody knows them.

        Raises:
            RunDirectoryError: it is a run of another experiment, model or data.
        """
        before = read_description(self.path / EXPERIMENT)
        check_unchanged(self.path, before)
        moved = check_same(self.path, before, description)
        self._complete()
        results = self.path / RESULTS
        lines = sort_lines(results, self._contents, examples)
        lines.check_same_data(self.path, before, description)
        sessions = _read_sessions(self.path / SESSIONS)
        self._sessions = sessions["sessions"]
        self._contents.reserve(lines.files, sessions["next_shard"])
        if lines.aside:
            with on_disk(self.path / DAMAGED), (self.path / DAMAGED).open("ab") as file:
                file.write(b"".join(each.rstrip(b"\n") + b"\n" for each in lines.aside))
                file.flush()
                os.fsync(file.fileno())
        if lines.aside or lines.again:
            write_bytes(results, b"".join(lines.kept))
        elif lines.torn:
            with on_disk(results), results.open("r+b") as file:
                # In place: whoever rewrites a file and is killed meanwhile loses what was in it.
                file.truncate(sum(map(len, lines.kept)))
        self.damage += lines.problems
        if moved:
            kept = {
                key: value for key, value in before.items() if key in ("versions", "git_commit")
            }
            write_json(self.path / EXPERIMENT, sealed({**description, **kept}))
        self._count_session()

    def close(self) -> None:
        """Let others have the folder; one that was made for a run that did not begin goes."""
        if self._lock is not None:
            if self._sessions:
                with suppress(DcmError):  # it is being left, perhaps since the disk is full
                    self._note_time()
            self._lock.release()
            self._lock = None
            for folder in self._made:
                with suppress(OSError):
                    folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Wall time of all processes that worked on the run, this one until now included."""
        before = sum(each["seconds"] for each in self._sessions[:-1])
        return float(before + time.monotonic() - self._began)

    def results(self) -> Iterator[dict[str, Any]]:
        """The lines of results.jsonl, one per finished example.

        Raises:
            RunDirectoryError: a line is damaged; one that is not yet written to its end is none.
        """
        for line in read_lines(self.path / RESULTS):
            if line.result is not None and line.whole:
                yield line.result
            elif line.whole:
                asked = f"{self.path / RESULTS}:{line.number}: the line is damaged"
                do = "Go on with the run by --resume, which redoes it"
                raise RunDirectoryError(asked, line.problem, do)

    def summary(self) -> dict[str, Any] | None:
        """What summary.json holds; None where there is none that can be read."""
        try:
            with open_file(self.path / SUMMARY) as file:
                value = json.loads(file.read().decode())
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def append(self, *results: Mapping[str, Any]) -> None:
        """Write finished examples, and be sure that they are on disk.

        Raises:
            DcmError: the disk refuses it; nothing of them is there.
        """
        lines = [
            json.dumps(result, ensure_ascii=False, allow_nan=False).encode() + b"\n"
            for result in results
        ]
        path = self.path / RESULTS
        with on_disk(path), path.open("ab") as file:
            before = file.tell()
            try:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise
        for result in results:
            self._refs.pop(result.get("id", ""), None)  # nobody asks again; there may be millions

    def save_contents(
        self, contents: Mapping[str, Tensor], modes: Mapping[str, Tensor], layout: str
    ) -> None:
        """Write a shard of contents; see `Contents.save`."""
        self._refs |= self._contents.save(contents, modes, layout)
        if self._sessions:
            self._note_time()

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stay the same when the run goes on."""
        first = self._sessions[0] if self._sessions else {}
        return of_value({name: value for name, value in first.items() if name != "seconds"})

    def ref(self, example_id: str) -> ContentRef:
        """Where the content last saved for an example is, until its line is written."""
        return self._refs[example_id]

    def load_contents(self, refs: Sequence[ContentRef]) -> list[Tensor]:
        """Read contents [K, D] float32 back from disk.

        Raises:
            RunDirectoryError: one is not what was written.
        """
        return self._contents.load(refs)

    def save_curves(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a part of the loss curves; `finish` joins the parts."""
        self._curves.save(rows)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Join the curves and write the summary."""
        parts, damaged = self._curves.join()
        self.damage += damaged
        write_json(self.path / SUMMARY, summary)
        with on_disk(self.path):
            for part in parts:
                part.unlink(missing_ok=True)

    def _complete(self) -> None:
        """Make what a run has from its beginning on; it may have been killed before that."""
        for path in (self.path / "content", self.path / RESULTS):
            with on_disk(path):
                if path.name == RESULTS:
                    path.touch()
                else:
                    path.mkdir(exist_ok=True)

    def _count_session(self) -> None:
        owner = json.loads((self.path / LOCK).read_text(encoding="utf-8")) if self._lock else {}
        # One process may begin many runs in a second.
        self._sessions.append({**owner, "key": uuid4().hex, "seconds": 0.0})
        self._note_time()

    def _note_time(self) -> None:
        self._sessions[-1]["seconds"] = round(time.monotonic() - self._began, 3)
        value = {"next_shard": self._contents.next_shard, "sessions": self._sessions}
        path = self.path / SESSIONS
        temporary = path.with_name(f"{path.name}.tmp")
        with on_disk(path):
            # Not waited for: nothing depends on it.
            temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)


def _read_sessions(path: Path) -> dict[str, Any]:
    """What sessions.json says, or the same of nothing."""
    try:
        with open_file(path) as file:
            value = json.loads(file.read().decode())
        shard, sessions = value["next_shard"], value["sessions"]
        known = [{**each, "seconds": float(each["seconds"])} for each in sessions]
        return {"next_shard": min(int(shard), 10**11), "sessions": known}
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return {"next_shard": 0, "sessions": []}
