"""Four bits: weights that stay in blocks of 4 bits and are dense for one layer at a time.

32 weights that follow each other along the axis that a product sums over are a block: they share
a scale, and each has 4 bits. In MXFP4, the form of gpt-oss, a scale is a power of two and the bits
are a number between -6 and 6 (OCP Microscaling Formats Specification 1.0); in INT4, the form of
Kimi K2 and of compressed-tensors ("pack-quantized"), a scale is a number and the bits are an
integer between -8 and 7.

Kernels that multiply with such blocks have no backward pass, and a whole model of dense weights is
four times as large. So a layer's weights are made dense when its forward pass asks for them,
forgotten, and made dense again in its backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Form = Literal["mxfp4", "int4"]

BLOCK = 32
# What the 16 codes mean.
_POSITIVE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_VALUES: dict[Form, tuple[float, ...]] = {
    "mxfp4": (*_POSITIVE, *(-value for value in _POSITIVE)),
    "int4": tuple(float(value) for value in range(-8, 8)),
}
_BIAS = 127  # of the exponent that is an MXFP4 scale
# Most bytes of blocks that are made dense at once: their indices take four times as much.
_PART = 1 << 27


def dense_of(form: Form, blocks: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers [..., 32 G] in `dtype` of blocks [..., G, 16] uint8 and scales [..., G].

    A byte holds two numbers, the first in its lower half. Scales are uint8 exponents in MXFP4 (the
    result is exact in bfloat16, too) and floating point numbers in INT4.
    """
    dense = torch.empty(*scales.shape, BLOCK, dtype=dtype, device=blocks.device)
    if blocks.device.type == "cuda" and _has_triton():
        from dcm.causal_lm.four_bits_kernel import fill_dense

        fill_dense(blocks, scales, dense, int4=form == "int4")
        return dense.flatten(-2)
    values = torch.tensor(_VALUES[form], dtype=dtype)
    # Both numbers of each byte are looked up at once, as one number of twice the bits.
    pairs = torch.stack((values.repeat(16), values.repeat_interleave(16)), dim=1)
    both = {2: torch.int32, 4: torch.int64}[dtype.itemsize]
    table = pairs.view(both).flatten().to(blocks.device)
    parts = max(1, min(len(blocks), blocks.numel() // _PART))
    for own, own_scales, own_dense in zip(
        blocks.tensor_split(parts),
        scales.tensor_split(parts),
        dense.tensor_split(parts),
        strict=True,
    ):
        torch.index_select(table, 0, own.flatten().int(), out=own_dense.view(both).flatten())
        own_dense.mul_(_factors(form, own_scales).to(dtype).unsqueeze(-1))
    return dense.flatten(-2)


@cache
def _has_triton() -> bool:
    """Not every build of torch for GPUs brings it."""
    return find_spec("triton") is not None


def _factors(form: Form, scales: Tensor) -> Tensor:
    # A power of two is its exponent's bits.
    return scales if form == "int4" else (scales.int() << 23).view(torch.float32)


def blocks_of(form: Form, dense: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest blocks [..., G, 16] and scales [..., G] of numbers [..., 32 G]."""
    grouped = dense.detach().float().reshape(*dense.shape[:-1], -1, BLOCK)
    most = grouped.abs().amax(-1)
    if form == "mxfp4":
        # The power of two with which the largest of a block is 4 at least; there is up to 6.
        exponents = (torch.frexp(most).exponent - 3 + _BIAS).clamp(1, 254)
        scaled = torch.ldexp(grouped, (_BIAS - exponents).unsqueeze(-1))
        values = torch.tensor(_POSITIVE, device=dense.device)
        between = (values[1:] + values[:-1]) / 2
        codes = torch.bucketize(scaled.abs().contiguous(), between) + 8 * scaled.signbit()
        scales = exponents.to(torch.uint8)
    else:
        # In the dtype that they are kept in, before anything is divided by them.
        scales = (most / 7).clamp(min=1e-12).to(dense.dtype)
        codes = (grouped / scales.float().unsqueeze(-1)).round().clamp(-8, 7) + 8
    return (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8), scales


class _Dense(NamedTuple):
    """Where dense weights come from."""

    form: Form
    blocks: Tensor
    scales: Tensor
    dtype: torch.dtype


class _Saved(NamedTuple):
    """A view of dense weights that the backward pass asks for again."""

    dense: _Dense
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class FourBits(nn.Module):
    """The parametrisation of a weight by blocks and scales.

    Args:
        form: of the blocks.
        dtype: of the dense weight.
        turned: whether the weight is [..., in, out] and not [..., out, in].
    """

    def __init__(self, form: Form, dtype: torch.dtype, *, turned: bool) -> None:
        super().__init__()
        self._form, self._dtype, self._turned = form, dtype, turned
        # Those dense now, by the address of their storage; None while none need be remembered, as
        # an address means something only while the weight is there.
        self.dense: dict[int, _Dense] | None = None

    def forward(self, blocks: Tensor, scales: Tensor) -> Tensor:
        """The dense weight of blocks [..., out, G, 16] and scales [..., out, G]."""
        weight = dense_of(self._form, blocks, scales, self._dtype)
        if self.dense is not None:
            origin = _Dense(self._form, blocks, scales, self._dtype)
            self.dense[weight.untyped_storage().data_ptr()] = origin
        return weight.transpose(-2, -1) if self._turned else weight

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks and scales of a dense weight."""
        return blocks_of(self._form, weight.transpose(-2, -1) if self._turned else weight)


def expert_layers(model: nn.Module) -> Iterator[tuple[nn.Module, list[str]]]:
    """Modules that hold the weights of several experts, [E, ., .], and those weights' names."""
    for module in list(model.modules()):
        names = [name for name, value in module.named_parameters(recurse=False) if value.ndim == 3]
        if names and hasattr(module, "num_experts"):
            yield module, names


def pack(module: nn.Module, names: list[str], form: Form) -> None:
    """Keep weights of a layer in 4 bits. What it computes is otherwise the same.

    Weights on the device "meta" become blocks on it, to be filled (see `fill`), others are rounded
    to the nearest. A weight whose summed axis is no multiple of 32 stays as it is.
    """
    turned, kept = bool(getattr(module, "is_transposed", False)), []
    for name in names:
        weight = getattr(module, name).requires_grad_(requires_grad=False)
        if not weight.shape[-2 if turned else -1] % BLOCK:
            kept.append(FourBits(form, weight.dtype, turned=turned))
            # Unsafe says that the dtype of what is kept may be another.
            parametrize.register_parametrization(module, name, kept[-1], unsafe=True)
    if kept:
        module.forward = _forgetting(module.forward, kept)


def fill(module: nn.Module, name: str, blocks: Tensor, scales: Tensor) -> None:
    """Set blocks [..., out, G, 16] and scales [..., out, G] of a packed weight.

    Raises:
        ValueError: they are of another shape.
    """
    own: Any = module.get_submodule("parametrizations").get_submodule(name)
    for kept, given in (("original0", blocks), ("original1", scales)):
        known = tuple(getattr(own, kept).shape)
        if known != tuple(given.shape):
            raise ValueError(f"{name} is kept as {known}, and {tuple(given.shape)} is given")
        setattr(own, kept, nn.Parameter(given, requires_grad=False))


def _forgetting(forward: Callable[..., Any], kept: list[FourBits]) -> Callable[..., Any]:
    """`forward`, whose dense weights are made anew where the backward pass asks for them."""

    def forget(tensor: Tensor) -> Tensor | _Saved:
        address = tensor.untyped_storage().data_ptr()
        for own in kept:
            if own.dense and address in own.dense:
                size, stride = tensor.size(), tensor.stride()
                return _Saved(own.dense[address], size, stride, int(tensor.storage_offset()))
        return tensor

    # A compiled layer calls it as it is: what hooks save is no matter for the compiler.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def run(*args: Any, **options: Any) -> Any:
        hooks = torch.autograd.graph.saved_tensors_hooks(forget, _dense_again)
        for own in kept:
            own.dense = {}
        try:
            with parametrize.cached(), hooks:  # the weights live until it is left
                return forward(*args, **options)
        finally:
            for own in kept:
                own.dense = None

    return run  # type: ignore[no-any-return]


def _dense_again(saved: Tensor | _Saved) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    (form, blocks, scales, dtype), size, stride, offset = saved
    # Of the experts, or lines, that the view touches alone.
    each = blocks[0].numel() * 2
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    first, end = offset // each, last // each + 1
    weight = dense_of(form, blocks[first:end], scales[first:end], dtype)
    return weight.as_strided(size, stride, offset - first * each)
