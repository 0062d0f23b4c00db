"""Provenance: what a run was made with and on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def provenance() -> dict[str, Any]:
    """What a run was made with: versions of the packages that matter, and the git commit."""
    names = ("dynamic-context-memory", "torch", "transformers", "datasets", "mlflow")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "git_commit": _git_commit()}


def peak_memory(device: str) -> int:
    """Most bytes held at once: on the GPU if that is the device, else by the process."""
    if device.startswith("cuda"):
        import torch

        from dcm.memory_limit import peak_on_gpu

        return peak_on_gpu(torch.device(device))
    try:
        import resource
    except ImportError:  # there is no such module on Windows
        return 0
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: str) -> str:
    """A device with its hardware's name, where torch knows it."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
