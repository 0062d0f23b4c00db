"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

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
    PlainRecording.made, PlainRecording.fails, PlainRecording.taken = 0, False, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "Recording", PlainRecording)
        patch.setattr(recording, "_forward_and_backward", lambda *_: None)
        patch.setattr(recording, "_mend", lambda _: None)
        patch.setattr(recording.Graphs, "_stream", None)
        card = SimpleNamespace(total_memory=1000)
        patch.setattr(torch.cuda, "get_device_properties", lambda _: card)
        yield PlainRecording


class PlainRecording(recording.Recording):
    """Computes anew what a CUDA graph would replay, in memory that the next pass overwrites."""

    made = 0
    fails = False
    taken = 1

    def __init__(self, function, first, others, stream):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        type(self).made += 1
        self.taken = type(self).taken
        self._first = first.detach().clone()
        self._others = [each if each is None else each.clone() for each in others]
        self._found = function(first, *others).detach().clone()
        self._slope, self._gradient = torch.empty_like(self._found), torch.empty_like(first)
        self._pass = None

        def forward():
            with torch.enable_grad():
                self._leaf = self._first.clone().requires_grad_()
                self._alive = function(self._leaf, *self._others)
            self._found.copy_(self._alive.detach())

        def backward():
            (gradient,) = torch.autograd.grad(
                self._alive, self._leaf, self._slope, retain_graph=True
            )
            self._gradient.copy_(gradient)

        self._forward, self._backward = (SimpleNamespace(replay=f) for f in (forward, backward))


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
