"""Products: a model's linear layers, multiplied in fewer bits while contents are optimised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor

from dcm.errors import GeneratorError
from dcm.regions import repeated_layers

Compute = Literal["bfloat16", "fp8"]
"""What the linear layers multiply in while contents are optimised."""


class Products:
    """Multiplies the linear layers of a model's decoder layers in fewer bits, where that is asked.

    Each `torch.nn.Linear` of the repeated layers keeps its weights and gets a copy of them in
    fewer bits, for products that lead to a gradient: of the steps of a solver alone, whose losses
    and `exact` are those of fewer bits. Decoding, baselines and certification multiply as the
    model does. Norms, attention scores, expert weights that are no `torch.nn.Linear`, and the head
    stay as they are, and in fp8 also layers whose sizes are no multiples of 16.

    Args:
        model: a Hugging Face causal language model; its linear layers are replaced.
        compute: in what; None leaves the model as it is.

    Raises:
        GeneratorError: the model or the device has no such products.
    """

    def __init__(self, model: Any, compute: Compute | None) -> None:
        self._switch = _Switch()
        if compute is None:
            return
        asked = f"compute={compute!r}"
        if compute == "fp8" and not _has_fp8(model.device):
            there = f"{model.device} does not multiply in fp8"
            raise GeneratorError(asked, there, "Use an NVIDIA GPU of 2022 or later, or bfloat16")
        found = 0
        for layer in repeated_layers(model):
            for parent in list(layer.modules()):
                for name, child in list(parent.named_children()):
                    if _fits(child, compute):
                        setattr(parent, name, _Linear(child, compute, self._switch))
                        found += 1
        if not found:
            there = "The model's layers hold no torch.nn.Linear that can"
            raise GeneratorError(asked, there, "Leave compute out")

    @contextmanager
    def fewer_bits(self, wanted: bool) -> Iterator[None]:
        """Within it products are those in fewer bits, if that is `wanted`."""
        before, self._switch.on = self._switch.on, wanted
        try:
            yield
        finally:
            self._switch.on = before


def _fits(module: torch.nn.Module, compute: Compute) -> TypeGuard[torch.nn.Linear]:
    """Whether it is a plain linear layer of a size that can be multiplied so."""
    if not isinstance(module, torch.nn.Linear) or type(module) not in (torch.nn.Linear, _Linear):
        return False
    return compute != "fp8" or not (module.in_features % 16 or module.out_features % 16)


class _Switch:
    on = False


class _Linear(torch.nn.Linear):
    """A linear layer that can also multiply in fewer bits.

    Args:
        linear: the layer, whose weights it shares.
        compute: in what it can.
        switch: says when it does.
    """

    def __init__(self, linear: torch.nn.Linear, compute: Compute, switch: _Switch) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._switch = switch
        weight = linear.weight.detach()
        self._product: type[_InBfloat16 | _InFp8]
        self._copies: tuple[Tensor, ...]
        if compute == "bfloat16":
            self._product, self._copies = _InBfloat16, (weight.bfloat16(),)
        else:
            # A product reads its second matrix column by column, so each direction has its copy.
            self._product = _InFp8
            self._copies = (*_scaled(weight), *_scaled(weight.t().contiguous()))

    def forward(self, input: Tensor) -> Tensor:
        if not self._switch.on:
            return torch.nn.functional.linear(input, self.weight, self.bias)
        lines = input.flatten(0, -2)
        product: Tensor = self._product.apply(lines, *self._copies)  # type: ignore[no-untyped-call]
        product = product.view(*input.shape[:-1], -1)
        return product if self.bias is None else product + self.bias


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
