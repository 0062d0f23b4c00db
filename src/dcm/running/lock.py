"""Lock: a run directory has one writer at a time."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from dcm.errors import RunDirectoryError
from dcm.running.disk import on_disk

LOCK = "run.lock"

_TAKEN = (errno.EAGAIN, errno.EACCES)


class Lock:
    """Holds a folder until it is released or garbage, or its process ends in whatever way.

    It is `flock` on the file `run.lock`, which the kernel gives back when the process dies, so
    that a kill leaves nothing to clean up. NFS passes it on to the server unless it was mounted
    with `nolock` or `local_lock`. The file tells who holds it; it goes when the lock goes.

    Args:
        folder: what to hold; it exists.

    Attributes:
        weak: why other machines may not see the lock; empty where they do.

    Raises:
        RunDirectoryError: another process holds it; the message says which, where, since when.
        DcmError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.weak = ""
        path = folder / LOCK
        with on_disk(folder):
            descriptor = self._take(folder, path)
            owner = {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            }
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(owner).encode() + b"\n")
        self.release = weakref.finalize(self, _release, descriptor, path)

    def _take(self, folder: Path, path: Path) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(path, flags, 0o666)
            try:
                self.weak = _hold(descriptor, folder)
                # Its last holder may have removed the file in between.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), path.stat()):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _hold(descriptor: int, folder: Path) -> str:
    """Lock an open file; why that is no protection, or nothing."""
    try:
        import fcntl
    except ImportError:
        return "this operating system has no lock that dcm knows"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _in_use(folder, os.pread(descriptor, 1 << 12, 0)) from None
        return f"its file system has no locks ({error.strerror})"
    return _local_only(folder)


def _in_use(folder: Path, written: bytes) -> RunDirectoryError:
    there = "Another process works in it"
    with suppress(ValueError, KeyError, TypeError):
        owner = json.loads(written)
        there = f"Process {owner['pid']} on {owner['host']} works in it since {owner['since']}" + (
            ", which is this process" if owner["pid"] == os.getpid() else ""
        )
    return RunDirectoryError(f"{folder} is in use", there, "Wait for it, or end it, then go on")


def _local_only(folder: Path) -> str:
    """Why a lock is seen on this machine alone; nothing where others see it, too."""
    with suppress(OSError, ValueError):
        device = folder.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            if line.split(" ", 3)[2] == wanted:
                kind, _, options = line.partition(" - ")[2].split(" ", 2)
                if kind.startswith("nfs") and re.search(
                    r"\bnolock\b|\blocal_lock=(all|flock)\b", options
                ):
                    return "it is mounted without locks that other machines see"
    return ""


def _release(descriptor: int, path: Path) -> None:
    # Removed while it is held: whoever opened it before finds another file there, and tries again.
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        os.close(descriptor)
