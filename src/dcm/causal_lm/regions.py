"""Regions: the repeated layers of a model, compiled once for all of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch

from dcm.memory_limit import is_out_of_memory

T = TypeVar("T")

# Compiling takes some 20 seconds and halves the time of a step (measured with SmolLM2-135M on an
# H100), so that it has paid after steps that would have taken 40. Who has spent as long in steps
# that are not compiled has work that may go on as long again: whatever comes, that costs at most
# half as much again as was best. Source: the ski rental problem (Karlin et al. 1988).
_COST = 40.0

# Seconds between two steps in which other things happened than a step.
_PAUSE = 2.0


class Regions:
    """Runs a model with its decoder layers compiled, where that is wanted and pays.

    One layer is compiled, for every length, and serves all, which takes seconds where a whole model
    takes minutes. Only steps that need a gradient run compiled; everything else (decoding,
    baselines) runs as the model is.

    Args:
        model: a Hugging Face causal language model.
        wanted: whether to compile; None does so on a GPU, when steps have taken so long that it
            would have paid.

    Attributes:
        active: whether steps run compiled.
    """

    def __init__(self, model: Any, wanted: bool | None) -> None:
        self.active = bool(wanted) and bool(repeated_layers(model))
        self._may_pay = wanted is None and model.device.type == "cuda"
        self._model = model
        self._compiled = False
        self._spent = 0.0
        self._last: float | None = None

    def count(self) -> bool:
        """A step begins; True at the one from which on steps run compiled."""
        now = time.monotonic()
        if self._may_pay and not self.active:
            if self._last is not None and now - self._last < _PAUSE:
                self._spent += now - self._last
            if self._spent >= _COST and repeated_layers(self._model):
                self.active = True
                self._may_pay = False
                return True
        self._last = now
        return False

    def run(self, model: Callable[[], T], *, step: bool) -> T:
        """`model()`, with compiled layers where it is a step."""

        def compiled() -> T:
            self._compile()
            return model()

        def plain() -> T:
            with self.eager():
                return model()

        return self.attempt(compiled, plain, step=step)

    def attempt(self, compiled: Callable[[], T], plain: Callable[[], T], *, step: bool) -> T:
        """`compiled()` in a step, else `plain()`; that alone once something cannot be compiled."""
        if self.active and step:
            try:
                return compiled()
            except (torch._dynamo.exc.TorchDynamoException, ImportError) as error:
                if is_out_of_memory(error):
                    raise
                if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
                    raise  # while a pass is recorded nothing can be compiled
                # Its first line names the backend, the second what is wrong.
                there = " ".join(str(error).strip().partition("\n\n")[0].split())
                warnings.warn(
                    f"The model is not compiled, and slower for it: {there}", stacklevel=3
                )
                self.active = False
        return plain()

    def eager(self) -> AbstractContextManager[object]:
        """Within it the model runs as it is."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def _compile(self) -> None:
        if not self._compiled:
            for layer in repeated_layers(self._model):
                layer.compile(dynamic=True)
            self._compiled = True


def repeated_layers(model: Any) -> list[torch.nn.Module]:
    """The model's layers: its list of modules of one class with the most parameters."""
    lists = [
        list(module)
        for module in model.modules()
        if isinstance(module, torch.nn.ModuleList) and len({type(each) for each in module}) == 1
    ]
    return max(
        lists, key=lambda each: sum(p.numel() for m in each for p in m.parameters()), default=[]
    )
