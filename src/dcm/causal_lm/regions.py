"""Regions: the repeated layers of a model, compiled once for all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from dcm.memory_limit import is_out_of_memory

T = TypeVar("T")

# Of a smaller model a GPU computes a kernel faster than the next one can be started. Compiling
# takes some 15 seconds whatever the size, which such a model wins back late.
_SMALL = 50_000_000


class Regions:
    """Runs a model with its decoder layers compiled, where that is wanted and pays.

    One layer is compiled, for every batch size and length, and serves all, which takes seconds
    where a whole model takes minutes. Only steps that need a gradient run compiled; everything
    else (decoding, baselines) runs as the model is.

    Args:
        model: a Hugging Face causal language model.
        wanted: whether to compile; None does so on a GPU, for models of 50 million parameters
            and more.

    Attributes:
        active: whether steps run compiled.
        waits: whether the device waits for its next kernel most of the time: a small model on a
            GPU.
    """

    def __init__(self, model: Any, wanted: bool | None) -> None:
        small = sum(p.numel() for p in model.parameters()) < _SMALL
        on_gpu = model.device.type == "cuda"
        paying = on_gpu and not small
        self.active = (paying if wanted is None else wanted) and bool(repeated_layers(model))
        self.waits = on_gpu and small
        self._model = model
        self._compiled = False

    def run(self, model: Callable[..., Any], sequence: Tensor) -> Any:
        """`model(inputs_embeds=sequence)`, with compiled layers where it is a step."""

        def compiled() -> Any:
            self._compile()
            return model(inputs_embeds=sequence)

        def plain() -> Any:
            with self.eager():
                return model(inputs_embeds=sequence)

        # A batch of one would be compiled apart from all others.
        return self.attempt(compiled, plain, step=sequence.requires_grad and len(sequence) > 1)

    def attempt(self, compiled: Callable[[], T], plain: Callable[[], T], *, step: bool) -> T:
        """`compiled()` in a step, else `plain()`; that alone once something cannot be compiled."""
        if self.active and step:
            try:
                return compiled()
            except (torch._dynamo.exc.TorchDynamoException, ImportError) as error:
                if is_out_of_memory(error):
                    raise
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
