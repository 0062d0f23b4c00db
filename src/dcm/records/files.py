"""Opening files, with errors a reader can act on."""

from __future__ import annotations

import difflib
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dcm.errors import DatasetError

LONGEST = 1 << 28
"""The longest record that is read, in bytes or characters: no file can fill the memory."""

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}


def path_text(path: str | os.PathLike[str]) -> str:
    """A path as text, the form that a component's field keeps: absolute, so that it means the
    same in another folder, and in a run that goes on there."""
    text = os.fspath(path)
    text = os.path.expanduser(text)  # noqa: PTH111 - as below
    return os.path.abspath(text) if text else text  # noqa: PTH100 - links stay what they are


def is_compressed(path: str | Path) -> bool:
    """Whether the file's name says that it is decompressed while it is read."""
    return Path(path).suffix in _OPENERS


@contextmanager
def open_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file, decompressed if its name says so.

    Raises:
        DatasetError: the file is missing, unreadable or wrongly compressed.
    """
    path = Path(path).expanduser()
    try:
        # Asked before it is opened: opening a pipe waits for who writes into it.
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            there = "It is a pipe, a socket or a device, and a data set is read more than once"
            raise DatasetError(f"{path} is no file", there, "Write it into a file first")
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise DatasetError(f"no file {path}", _there(path), "Check the path") from error
    except IsADirectoryError as error:
        raise DatasetError(f"{path} is a folder", "", "Name a file in it") from error
    except UnicodeDecodeError as error:
        there = f"Byte {error.object[error.start]:#04x} cannot be decoded"
        raise DatasetError("the file is no UTF-8 text", there, place=str(path)) from error
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DatasetError("the file cannot be read", str(error), place=str(path)) from error


@contextmanager
def open_text(path: str | Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file, decompressed if its name says so; a byte order mark is dropped.

    Raises:
        DatasetError: the file is missing, unreadable, no UTF-8 or wrongly compressed.
    """
    with open_bytes(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield text


def _there(path: Path) -> str:
    """What there is in place of a missing file."""
    folder = next((parent for parent in path.parents if parent.is_dir()), None)
    if folder != path.parent:
        return f"There is no folder {path.parent}"
    names = [each.name for each in folder.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"{folder / close[0]} is there" if close else f"The folder has {len(names)} others"
