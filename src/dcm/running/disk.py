"""Writing so that a file is whole or absent, and what to say where the system refuses."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dcm.errors import DcmError

_FREE = "Free some space, then go on with --resume"
_ELSEWHERE = "Name a folder that you may write to"

_SAID = {
    errno.ENOSPC: ("The disk is full", _FREE),
    errno.EDQUOT: ("Your share of the disk is used up", _FREE),
    errno.EFBIG: ("The file would be larger than is allowed", "Raise the limit (ulimit -f)"),
    errno.EROFS: ("The file system is read-only", _ELSEWHERE),
    errno.EACCES: ("Permission is denied", _ELSEWHERE),
    errno.EPERM: ("Permission is denied", _ELSEWHERE),
    errno.ENAMETOOLONG: ("The name is too long", "Choose a shorter one"),
    errno.ENOTDIR: ("A part of the path is a file, no folder", "Check the path"),
    errno.EISDIR: ("It is a folder, no file", "Check the path"),
    errno.ENOENT: ("There is no such file or folder", "Check the path"),
    errno.ELOOP: ("Its links lead round in a circle", "Check the path"),
    errno.EMFILE: ("Too many files are open", "Raise the limit (ulimit -n)"),
    errno.EIO: ("The device failed", "Check the disk, then go on with --resume"),
    errno.ESTALE: ("The file server has lost it", "Mount it again, then go on with --resume"),
}


@contextmanager
def on_disk(path: Path, doing: str = "written") -> Iterator[None]:
    """Say an error of the operating system in a sentence.

    Raises:
        DcmError: what the system refused, why, and what to do.
    """
    try:
        yield
    except OSError as error:
        known = _SAID.get(error.errno or 0)
        there, do = known or (error.strerror or str(error), "Check the path")
        raise DcmError(f"{path} cannot be {doing}", there, do) from error
    except UnicodeEncodeError as error:
        there, do = "Its name is no UTF-8 text, which Arrow needs", "Choose another name"
        raise DcmError(f"{str(path)!r} cannot be {doing}", there, do) from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise DcmError(f"{str(path)!r} is no path", "It holds a null byte", "Check it") from error


def open_file(path: Path) -> IO[bytes]:
    """Open a file to read it; opening a pipe would wait for ever.

    Raises:
        OSError: it cannot be opened.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.ENOTSUP, "It is a pipe, a socket or a device, no file")
    return path.open("rb")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all, and be sure that it is on disk.

    Raises:
        DcmError: the system refuses it.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with on_disk(path):
        with temporary.open("wb") as file:
            file.write(data)
        settle(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a whole or not at all.

    Raises:
        DcmError: the system refuses it.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def settle(temporary: Path, path: Path) -> None:
    """Move a written file to its place; file and name are on disk when it returns."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Be sure that the names in a folder are on disk."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no such thing, and do it by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
