"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch.utils._python_dispatch import TorchDispatchMode

from dcm.causal_lm import recording

# The same examples each time in CI. Drawing an example is slow where a model is loaded first.
settings.register_profile(
    "dcm",
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dcm")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _nano_is_loaded_once() -> Iterator[None]:
    """The bundled model is loaded and tried once a process, not once a test: it is frozen."""
    from dcm_nano.generator import Nano

    load = Nano.load
    loaded: dict[tuple[object, ...], object] = {}

    def once(self: Nano) -> object:
        key = self.dtype_name, self.device_name, self.compute
        if key not in loaded:
            loaded[key] = load(self)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Nano, "load", once)
        yield


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Imports a file of the project that is no package's: an experiment, say, by its path."""

    def imported(path: str) -> ModuleType:
        file = ROOT / path
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(file.parent)  # what stands beside it
            patch.setitem(sys.modules, file.stem, module)
            spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Python to start programs with in place of `sys.executable`: it has torch imported.

    See `warm/server.py`. It is for tests of what a process does, not of how it starts: those, and
    a newcomer's first hour, start Python itself.
    """
    folder = tmp_path_factory.mktemp("python")
    client = (ROOT / "tests" / "warm" / "client.py").read_text(encoding="utf-8")
    (folder / "python").write_text(f"#!{sys.executable} -SIE\n{client}", encoding="utf-8")
    (folder / "python").chmod(0o755)
    command = [
        sys.executable,
        str(ROOT / "tests" / "warm" / "server.py"),
        str(folder / "python.socket"),
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))}
    environment = {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield str(folder / "python")
        # Leaving closes its stdin, at which it ends.


@pytest.fixture
def quick(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the code under test starts are started so."""
    monkeypatch.setattr(sys, "executable", python)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models are slower on several threads, and tests run beside each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets; where it is missing, CI fails and others skip."""
    folder = Path(os.environ.get("DCM_TEST_DATA") or ROOT / ".." / "shared" / "data")
    if not folder.is_dir():
        message = f"no real data at {folder}: set DCM_TEST_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch has, for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recordings() -> Iterator[type[PlainRecording]]:
    """CUDA graphs without CUDA, see `PlainRecording`."""
    PlainRecording.reset()
    init = recording.Recordings.__init__

    def as_on_a_gpu(self, device):
        init(self, device)
        self.limit = 1 << 16

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "Recording", PlainRecording)
        patch.setattr(recording, "_Timed", PlainTimed)
        patch.setattr(
            recording,
            "_forward_and_backward",
            lambda _function, first, *_: PlainRecording.needed * len(first),
        )
        patch.setattr(recording, "mend", lambda _: None)
        patch.setattr(recording.Recordings, "__init__", as_on_a_gpu)
        patch.setattr(recording.Recordings, "_stream", None)
        patch.setattr(recording.Recordings, "_pool", None)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "mem_get_info", lambda _: (500, 1000))
        patch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)
        patch.setattr(torch.cuda, "memory_reserved", lambda _: PlainRecording.held)
        yield PlainRecording


class PlainTimed:
    """Says at once that starting a pass took the time, or not, as `PlainRecording.waits` does."""

    watched = staticmethod(nullcontext)
    over = True

    def __init__(self, positions):
        self.positions = positions
        self.waits = PlainRecording.waits
        self.even = positions if self.waits else positions - 1


class PlainRecording(recording.Recording):
    """Computes anew what a CUDA graph would replay, in memory that all of them share.

    A forward pass of any of them overwrites what the last one left, and there is one gradient.

    Attributes:
        made: how many there have been.
        replayed: how many passes they have computed.
        fails: whether a function cannot be recorded.
        taken: of 1,000 bytes, what the next one takes.
        held: what all have taken.
        waits: whether a pass takes longer to start than to compute.
        needed: of 1,000 bytes, what a pass needs, a position.
    """

    made = replayed = held = needed = 0
    fails, taken, waits = False, 1, True
    memory: ClassVar[weakref.WeakSet[PlainRecording]] = weakref.WeakSet()

    @classmethod
    def reset(cls):
        cls.made = cls.replayed = cls.held = cls.needed = 0
        cls.fails, cls.taken, cls.waits = False, 1, True

    def __init__(self, function, first, others, stream, pool):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        cls = type(self)
        cls.made += 1
        cls.held += self.taken
        cls.memory.add(self)
        self._function = function
        self._first = first.detach().clone()
        self._others = [each.detach().clone() for each in others]
        with torch.no_grad():
            self._found, self._aside = (
                each.clone() for each in function(self._first, *self._others)
            )
        self._slope, self._gradient = torch.empty_like(self._found), torch.empty_like(self._first)
        self._alive = None
        self._forward = SimpleNamespace(replay=self._replay_forward)
        self._backward = SimpleNamespace(replay=self._replay_backward)

    def _replay_forward(self):
        type(self).replayed += 1
        for each in self.memory:
            each._alive = None
            for left in (each._found, each._aside, each._gradient):
                left.fill_(torch.nan)
        with torch.enable_grad():
            leaf = self._first.clone().requires_grad_()
            found, aside = self._function(leaf, *self._others)
        self._alive = leaf, found
        self._found.copy_(found.detach())
        self._aside.copy_(aside.detach())

    def _replay_backward(self):
        if self._alive is None:
            return  # another pass has overwritten what it needs
        leaf, found = self._alive
        self._gradient.copy_(torch.autograd.grad(found, leaf, self._slope)[0])
        self._alive = None


@pytest.fixture
def logit_lines() -> Callable[[int], LogitLines]:
    """Makes a counter of the positions at which logits are computed."""
    return LogitLines


_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear", "_linear_pointwise")


class LogitLines(TorchDispatchMode):
    """Within it `lines` gets the number of positions of every product with the vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.lines: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in _PRODUCTS and out.shape[-1] == self.vocabulary:
            self.lines.append(out.shape[:-1].numel())
        return out
