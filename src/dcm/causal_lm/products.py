"""Products: how a model's linear layers multiply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor

from dcm.causal_lm.regions import repeated_layers
from dcm.errors import GeneratorError

Compute = Literal["bfloat16", "fp8"]
"""What the linear layers multiply in while contents are optimised."""


def product(lines: Tensor, weight: Tensor) -> Tensor:
    """[M, out]: lines [M, in] times a weight [out, in], turned.

    In float32 on a CPU by oneDNN, which comes with torch and uses all of the processor, where
    torch's own choice, MKL, goes by who made it: on an AMD EPYC of 2024 it is 2.3 times as fast.
    """
    by_onednn = _onednn() if lines.dtype == torch.float32 and lines.device.type == "cpu" else None
    # A single line takes another routine, a weight of other numbers none.
    if by_onednn and len(lines) > 1 and weight.dtype == lines.dtype:
        return by_onednn(lines, weight)
    return lines @ weight.t()


@cache
def _onednn() -> Callable[[Tensor, Tensor], Tensor] | None:
    """oneDNN's product; None where this torch has none."""

    def multiply(lines: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise.default(
            lines.contiguous(), weight, None, "none", [], ""
        )
        return found

    # Torch's compiler calls it so, but promises it to nobody: hence the trial.
    trial = torch.arange(32.0).view(2, 16)
    try:
        same = torch.equal(multiply(trial, trial), trial @ trial.t())
    except (AttributeError, RuntimeError, TypeError):
        return None
    return multiply if same else None


class Products:
    """Multiplies the linear layers of a model's decoder layers faster.

    In float32 on a CPU by oneDNN, see `product`, whatever is scored or decoded. In fewer bits where
    that is asked: each `torch.nn.Linear` of the repeated layers keeps its weights and gets a copy
    of them in fewer bits, for products that lead to a gradient: of the steps of a solver alone,
    whose losses and `exact` are those of fewer bits. Decoding, baselines and certification multiply
    as the model does. Norms, attention scores, expert weights that are no `torch.nn.Linear`, and
    the head keep their bits, and in fp8 also layers whose sizes are no multiples of 16.

    Called by anyone else, the model is as it was.

    Args:
        model: a Hugging Face causal language model; its linear layers are replaced.
        compute: in what; None for the model's own numbers.

    Raises:
        GeneratorError: the model or the device has no such products.
    """

    def __init__(self, model: Any, compute: Compute | None) -> None:
        self._switch = _Switch()
        self._only_steps = compute is not None
        self._plain = False
        if compute is None and (model.device.type, model.dtype) != ("cpu", torch.float32):
            return
        asked = f"compute={compute!r}"
        if compute == "fp8" and not _has_fp8(model.device):
            there = f"{model.device} does not multiply in fp8"
            raise GeneratorError(asked, there, "Use an NVIDIA GPU of 2022 or later, or bfloat16")
        found = 0
        for layer in repeated_layers(model):
            for parent in list(layer.modules()):
                for name, child in list(parent.named_children()):
                    # Of the same model in other hands: both switch its layers.
                    if isinstance(child, _Linear) and child.compute == compute:
                        self._switch = child.switch
                    elif _fits(child, compute):
                        setattr(parent, name, _Linear(child, compute, self._switch))
                    else:
                        continue
                    found += 1
        if compute is not None and not found:
            there = "The model's layers hold no torch.nn.Linear that can"
            raise GeneratorError(asked, there, "Leave compute out")

    @contextmanager
    def fast(self, *, step: bool) -> Iterator[None]:
        """Within it products are the fast ones; those in fewer bits only if it is a `step`."""
        on = not self._only_steps or (step and not self._plain)
        before, self._switch.on = self._switch.on, on
        try:
            yield
        finally:
            self._switch.on = before

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Within it nothing is multiplied in fewer bits, not in a step either."""
        before, self._plain = self._plain, True
        try:
            yield
        finally:
            self._plain = before


def _fits(module: torch.nn.Module, compute: Compute | None) -> TypeGuard[torch.nn.Linear]:
    """Whether it is a plain linear layer of a size that can be multiplied so."""
    if not isinstance(module, torch.nn.Linear) or type(module) not in (torch.nn.Linear, _Linear):
        return False
    # Quantised weights are tensors of other classes, which multiply themselves.
    if type(module.weight) is not torch.nn.Parameter:
        return False
    return compute != "fp8" or not (module.in_features % 16 or module.out_features % 16)


class _Switch:
    on = False


class _Linear(torch.nn.Linear):
    """A linear layer that can also multiply faster.

    Args:
        linear: the layer, whose place it takes.
        compute: in what it does; None for float32.
        switch: says when it does.
    """

    def __init__(self, linear: torch.nn.Linear, compute: Compute | None, switch: _Switch) -> None:
        # All that the layer has, the hooks that somebody may have put on it too.
        self.__dict__.update(linear.__dict__)
        self.compute, self.switch = compute, switch
        weight = linear.weight.detach()
        self._product: type[_InFloat32 | _InBfloat16 | _InFp8]
        self._copies: tuple[Tensor, ...]
        if compute is None:
            self._product, self._copies = _InFloat32, ()
        elif compute == "bfloat16":
            self._product, self._copies = _InBfloat16, (weight.bfloat16(),)
        else:
            # A product reads its second matrix column by column, so each direction has its copy.
            self._product = _InFp8
            self._copies = (*_scaled(weight), *_scaled(weight.t().contiguous()))

    def forward(self, input: Tensor) -> Tensor:
        # A compiled layer in float32 is the compiler's own business.
        if not self.switch.on or (not self._copies and torch.compiler.is_compiling()):
            return torch.nn.functional.linear(input, self.weight, self.bias)
        lines, copies = input.flatten(0, -2), self._copies or (self.weight.detach(),)
        found: Tensor = self._product.apply(lines, *copies)  # type: ignore[no-untyped-call]
        found = found.view(*input.shape[:-1], -1)
        return found if self.bias is None else found + self.bias


class _InFloat32(torch.autograd.Function):
    """Products [M, out] of lines [M, in] with a weight [out, in] in float32."""

    @staticmethod
    def forward(ctx: Any, lines: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return product(lines, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return product(gradient, weight.t()), None


class _InBfloat16(torch.autograd.Function):
    """Products [M, out] of lines [M, in] with a weight [out, in] in bfloat16."""

    @staticmethod
    def forward(ctx: Any, lines: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.mm(lines.bfloat16(), weight.t()).to(lines.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return torch.mm(gradient.bfloat16(), weight).to(gradient.dtype), None


class _InFp8(torch.autograd.Function):
    """Products [M, out] of lines [M, in] with a weight in float8_e4m3fn.

    `weight` is [out, in] with scales [out, 1], `turned` is [in, out] with scales [in, 1]. Each
    line has a scale of its own, so that a row's result does not depend on the rows beside it.
    """

    @staticmethod
    def forward(
        ctx: Any, lines: Tensor, weight: Tensor, scale: Tensor, turned: Tensor, back_scale: Tensor
    ) -> Tensor:
        ctx.save_for_backward(turned, back_scale)
        return _fp8_product(lines, weight, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _fp8_product(gradient, *ctx.saved_tensors), None, None, None, None


def _fp8_product(lines: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    own, own_scale = _scaled(lines)
    product = torch._scaled_mm(
        own,
        weight.t(),
        own_scale,
        scale.t(),
        out_dtype=torch.bfloat16,
        # Sums in fewer bits than float32's, which cost no step that the factors do not cost.
        use_fast_accum=True,
    )
    return product.to(lines.dtype)


def _scaled(lines: Tensor) -> tuple[Tensor, Tensor]:
    """[M, N] float8_e4m3fn and [M, 1] float32: `lines` and what to multiply them with again."""
    # Its largest number, written here: compiled for every shape, a global number fails in torch.
    most = torch.finfo(torch.float8_e4m3fn).max
    # Lines of zeros have a scale too.
    scale = (lines.abs().amax(1, keepdim=True).float() / most).clamp(min=1e-12)
    return (lines / scale).to(torch.float8_e4m3fn), scale


def _has_fp8(device: torch.device) -> bool:
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 9)
