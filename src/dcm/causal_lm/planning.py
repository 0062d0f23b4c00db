"""Planning: what a model and its rows take of a device's memory, from the model's config alone.

The model is built without its numbers (on torch's device "meta") and run once: what it has and what
it keeps for its backward pass is counted, whatever its architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dcm.causal_lm.four_bits import expert_layers
from dcm.causal_lm.products import Compute
from dcm.causal_lm.quantised import Quantize
from dcm.causal_lm.regions import repeated_layers
from dcm.errors import GeneratorError

# Bits of a weight, those of its scales among them. For lines of `n` weights with one scale each,
# 32 / n is added, which the widths of language models make nothing of.
_BITS: dict[str, float] = {
    "nf4": 4 + 8 / 64 + 32 / (64 * 256),
    "int8": 8,
    "torchao-int8": 8,
    "torchao-fp8": 8,
    "int4": 4.5,
    "mxfp4": 4.25,
    "block-fp8": 8 + 32 / 128**2,
}
# A row's contents, gradients, moments and copies: content, the best one, the one measured, its
# gradient, two moments, and what a step makes on its way; float32.
_CONTENTS = 8
# Most experts of a checkpoint in block-fp8 that transformers has dense at once, bytes.
_FP8_EXPERTS = 2**30
# Most logits at once on a GPU, and bytes of each: its own, in float32, softmax and gradient.
_LOGITS, _LOGIT_BYTES = 1 << 27, 14
# The share of what is free that the solver gives to rows.
_SHARE = 0.9


@attrs.frozen
class Shape:
    """What is counted of a model. Bytes a token are for one position of one strand.

    Attributes:
        dtype: what it computes in.
        width: D.
        vocabulary: V.
        parameters: how many numbers it has, tied ones once.
        active: how many of them a token meets.
        linears: those of them that are in linear layers of the repeated layers.
        experts: those of them that are experts'.
        largest_experts: most weights of experts in one layer.
        largest_linear: most weights of one linear layer.
        layers: how many layers are repeated.
        kept: bytes a token that the layers keep for their backward pass.
        kept_compiled: the same where layers are compiled: results of matrix products and of
            attention, from which the rest is computed again.
        kept_fp8: the same where products are in fp8, which the compiler computes again, too:
            results of attention, and what goes into each layer. So torch 2.11 does it.
        kept_experts: of `kept`, what experts keep.
        kept_experts_compiled: of `kept_compiled`, likewise.
    """

    dtype: torch.dtype
    width: int
    vocabulary: int
    parameters: int
    active: int
    linears: int
    experts: int
    largest_experts: int
    largest_linear: int
    layers: int
    kept: float
    kept_compiled: float
    kept_fp8: float
    kept_experts: float
    kept_experts_compiled: float


@attrs.frozen
class Plan:
    """What a run takes; bytes.

    Attributes:
        weights: of the layers, embeddings and head.
        copies: of linear layers in fewer bits, and of what is dense for a moment of one layer.
        logits: of the part of the logits that is there at once.
        row: of a row: what is kept for its backward pass, and its content.
        memory: what there is.
    """

    weights: int
    copies: int
    logits: int
    row: int
    memory: int

    @property
    def fixed(self) -> int:
        """What is taken whatever the number of rows."""
        return self.weights + self.copies + self.logits

    @property
    def lanes(self) -> int:
        """How many rows there is room for; none where the model itself does not fit."""
        return max(0, int(_SHARE * (self.memory - self.fixed) / self.row))

    def peak(self, lanes: int) -> int:
        """Bytes at the most with so many lanes."""
        return self.fixed + lanes * self.row


def shape_of(config: Any, dtype: torch.dtype) -> Shape:
    """Count what a model of a config has and keeps.

    Args:
        config: a Hugging Face config.
        dtype: what it computes in.

    Raises:
        GeneratorError: such a model cannot be built or run without its numbers.
    """
    from transformers import AttentionInterface, AutoModelForCausalLM

    AttentionInterface.register("dcm-planned", _planned_attention)
    # Experts' grouped products are known without numbers in bfloat16 alone.
    counted = dtype if _routed(config) == 1 else torch.bfloat16
    asked = f"a {config.model_type} model cannot be planned"
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config, dtype=counted, attn_implementation="dcm-planned"
            )
        model = model.eval().requires_grad_(requires_grad=False)
        kept = _Kept(model)
        width = int(model.get_input_embeddings().weight.shape[1])
        strands, length = 4, 64
        sequence = torch.empty(strands, length, width, dtype=counted, device="meta")
        with kept.counting():
            model.base_model(inputs_embeds=sequence.requires_grad_(), use_cache=False)
    except Exception as error:  # models raise many kinds
        there = " ".join(str(error).split()) or type(error).__name__
        do = "Run it on a few examples: the closing table tells lanes and peak memory"
        raise GeneratorError(asked, there, do) from error
    layers = repeated_layers(model)
    linears = [m.weight.numel() for each in layers for m in each.modules() if type(m) is nn.Linear]
    experts = [
        sum(getattr(module, name).numel() for name in names)
        for module, names in expert_layers(model)
    ]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens = strands * length * counted.itemsize / dtype.itemsize
    return Shape(
        dtype=dtype,
        width=width,
        vocabulary=int(model.get_output_embeddings().weight.shape[0]),
        parameters=parameters,
        active=parameters - round(sum(experts) * (1 - _routed(config))),
        linears=sum(linears),
        experts=sum(experts),
        largest_experts=max(experts, default=0),
        largest_linear=max(linears, default=0),
        layers=max(1, len(layers)),
        kept=kept.saved / tokens,
        kept_compiled=kept.made / tokens,
        kept_fp8=kept.attended / tokens + len(layers) * width * dtype.itemsize,
        kept_experts=kept.saved_by_experts / tokens,
        kept_experts_compiled=kept.made_by_experts / tokens,
    )


def plan(
    shape: Shape,
    memory: int,
    *,
    slots: int = 32,
    tokens: int = 16,
    targets: int = 2,
    layout: Literal["prefix", "suffix"] = "prefix",
    quantize: Quantize | Literal["block-fp8"] | None = None,
    compute: Compute | None = None,
    compiled: bool = True,
) -> Plan:
    """What a run takes.

    Args:
        shape: of the model.
        memory: bytes there are.
        slots: K.
        tokens: of a target, its closing one included.
        targets: of a row.
        layout: with `suffix` a content is computed once for all of its targets.
        quantize: in what the layers' weights are kept; `block-fp8` is that of checkpoints in it,
            on a GPU.
        compute: what linear layers multiply in, with copies of them.
        compiled: whether layers are compiled.
    """
    size = shape.dtype.itemsize
    dense = quantize in ("int4", "mxfp4")
    packed = 0
    if quantize is not None:
        packed = shape.experts if dense or quantize == "block-fp8" else 0
        if quantize != "mxfp4" or not shape.experts:
            packed += shape.linears
    weights = (shape.parameters - packed) * size + packed * _BITS.get(str(quantize), 0) / 8
    copies = {None: 0, "bfloat16": 2, "fp8": 2}[compute] * shape.linears
    if dense:
        # An expert layer's weights are dense together, linear layers' one by one.
        copies += max(shape.largest_experts, shape.largest_linear) * size
    elif quantize == "block-fp8":
        # Dense in the backward pass, likewise, but not all experts together.
        copies += max(min(shape.largest_experts * size, _FP8_EXPERTS), shape.largest_linear * size)
    contents = 1 if layout == "suffix" else targets
    positions = contents * slots + targets * tokens
    kept = shape.kept
    # Linear layers in 4 bits take a compiled layer apart.
    if compiled and not (dense and packed > shape.experts):
        # Nothing is computed again in products whose lines are sorted by expert.
        kept = shape.kept_compiled - shape.kept_experts_compiled
        kept = (shape.kept_fp8 if compute == "fp8" else kept) + shape.kept_experts
    # The backward pass of one layer has everything that the layer makes.
    step = kept + shape.kept / shape.layers
    # Hidden states at target positions and their gradient, and logits for a part of them.
    ends = targets * tokens * shape.width * size * 3
    own = _CONTENTS * slots * shape.width * 4
    row = positions * step + ends + own
    logits = min(_LOGITS, 1024 * targets * tokens * shape.vocabulary) * _LOGIT_BYTES
    # Logits are gone when the backward pass needs as much.
    rows = max(1.0, (memory - weights - copies) / row)
    beside = rows * positions * shape.kept / shape.layers
    return Plan(
        weights=round(weights),
        copies=round(copies),
        logits=round(max(0.0, logits - beside)),
        row=round(row),
        memory=memory,
    )


class _Kept(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts bytes that a model keeps for its backward pass, and those that its products make."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self._seen: dict[int, Tensor] = {}
        self._model, self._inside = model, False
        self.saved = self.saved_by_experts = self.made = self.made_by_experts = self.attended = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        hooks = [torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)]
        handles = []
        for module, _ in expert_layers(self._model):
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave))
        try:
            with self, hooks[0]:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name.endswith("mm") or name in ("convolution", _ATTENTION):
            self._make(found)
        if name == _ATTENTION:
            self.attended += found.nbytes
        return found

    def _make(self, tensor: Tensor) -> None:
        self.made += tensor.nbytes
        self.made_by_experts += tensor.nbytes * self._inside

    def _save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own and storage._cdata not in self._seen:
            self._seen[storage._cdata] = tensor  # alive, so that no other takes its place
            self.saved += storage.nbytes()
            self.saved_by_experts += storage.nbytes() * self._inside
        return tensor

    def _enter(self, *_: Any) -> None:
        self._inside = True

    def _leave(self, *_: Any) -> None:
        self._inside = False


class _Attention(torch.autograd.Function):
    """Keeps what attention kernels keep: queries, keys, values, the result and a number a line."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = torch.empty(query.shape[:-1], device=query.device)
        ctx.save_for_backward(query, key, value, found, sums)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise NotImplementedError


_ATTENTION = "new_empty"  # the one call that nothing else of a pass makes


def _planned_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    found: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return found.transpose(1, 2).contiguous(), None


def _routed(config: Any) -> float:
    """The share of a layer's experts that a token meets."""
    config = config.get_text_config()
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        if getattr(config, name, None):
            return float(getattr(config, "num_experts_per_tok", 1) / getattr(config, name))
    return 1.0
