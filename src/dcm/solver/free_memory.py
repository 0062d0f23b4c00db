"""Free memory of a CPU's process: what the machine has, and what its control groups allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
# (limit, use) of a control group's memory, and what of the use can be given up at once.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory(root: Path = _ROOT) -> int:
    """Bytes that this process may still take; a great number if nobody knows.

    The least of what the machine has available and what each control group that the process is
    in, and each above it, has left. Both versions of control groups are read: a batch system or
    container kills what takes more than its group may, whatever the machine has.

    Args:
        root: where `/proc` and `/sys` are.
    """
    amounts = [1 << 62]
    with suppress(OSError, ValueError, KeyError, IndexError):
        text = (root / "proc/meminfo").read_text()
        lines = dict(line.split(":", 1) for line in text.splitlines())
        amounts.append(int(lines["MemAvailable"].split()[0]) * 1024)
    for folder, names in _groups(root):
        with suppress(OSError, ValueError):
            amounts.append(_left(folder, *names))
    return max(0, min(amounts))


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of the control groups that limit this process's memory."""
    mount = root / "sys/fs/cgroup"
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    # In a container the mounted root is the process's own group, whatever its path is called.
    found = [(mount, "/", _V2), (mount / "memory", "/", _V1)]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append((mount, path, _V2))
            found.append((mount / "unified", path, _V2))
        elif "memory" in controllers.split(","):
            found.append((mount / controllers, path, _V1))
            found.append((mount / "memory", path, _V1))
    for base, path, names in found:
        if ".." in Path(path).parts:  # the group is outside of what this container sees
            continue
        folder = base / path.lstrip("/")
        for each in (folder, *folder.parents):
            if each == base.parent:
                break
            yield each, names


def _left(folder: Path, limit: str, used: str, cached: str) -> int:
    """Bytes that a group may still take.

    Raises:
        OSError: it says nothing about memory.
        ValueError: it has no limit.
    """
    most = int((folder / limit).read_text())  # "max" where there is no limit
    taken = int((folder / used).read_text())
    with suppress(OSError, ValueError, KeyError):
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        taken -= int(stat[cached])  # files' pages, which the kernel drops before it kills
    return most - taken
