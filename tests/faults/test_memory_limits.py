"""A process may take what its control groups leave it, whatever the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcm.solver.free_memory import free_memory

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path):
    """A root whose machine has 100 GiB available, and a way to add files."""

    def add(name: str, text: object) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")

    add("proc/meminfo", f"MemTotal: {200 << 20} kB\nMemAvailable: {100 << 20} kB")
    add.root = tmp_path  # type: ignore[attr-defined]
    return add


def test_without_groups_it_is_what_the_machine_has(machine) -> None:
    assert free_memory(machine.root) == 100 * GIB


def test_nothing_known_is_no_limit(tmp_path) -> None:
    assert free_memory(tmp_path) > 1 << 60


def test_a_v1_group_counts(machine) -> None:
    machine("proc/self/cgroup", "9:memory:/job/step\n3:cpu,cpuacct:/job")
    group = "sys/fs/cgroup/memory/job/step"
    machine(f"{group}/memory.limit_in_bytes", 8 * GIB)
    machine(f"{group}/memory.usage_in_bytes", 6 * GIB)
    assert free_memory(machine.root) == 2 * GIB
    machine(f"{group}/memory.stat", f"cache 1\ntotal_inactive_file {3 * GIB}")
    assert free_memory(machine.root) == 5 * GIB
    machine("sys/fs/cgroup/memory/job/memory.limit_in_bytes", 7 * GIB)
    machine("sys/fs/cgroup/memory/job/memory.usage_in_bytes", 6 * GIB)
    assert free_memory(machine.root) == 1 * GIB


def test_a_process_own_v2_group_and_those_above_count(machine) -> None:
    machine("proc/self/cgroup", "0::/user/job")
    machine("sys/fs/cgroup/user/job/memory.max", "max")
    machine("sys/fs/cgroup/user/job/memory.current", GIB)
    machine("sys/fs/cgroup/user/memory.max", 4 * GIB)
    machine("sys/fs/cgroup/user/memory.current", GIB)
    assert free_memory(machine.root) == 3 * GIB
    machine("sys/fs/cgroup/user/job/memory.max", 2 * GIB)
    assert free_memory(machine.root) == 1 * GIB


def test_a_containers_root_counts_and_more_than_all_is_nothing(machine) -> None:
    machine("proc/self/cgroup", "0::/../../elsewhere")
    machine("sys/fs/cgroup/memory.max", GIB)
    machine("sys/fs/cgroup/memory.current", 2 * GIB)
    assert free_memory(machine.root) == 0
