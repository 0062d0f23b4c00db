"""Quantised: a model whose layers keep their weights in 8 or 4 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import nn

from dcm.causal_lm.four_bits import expert_layers, pack
from dcm.causal_lm.regions import repeated_layers
from dcm.errors import GeneratorError

Quantize = Literal["nf4", "int8", "torchao-int8", "torchao-fp8", "int4", "mxfp4"]
"""In what the layers' weights are kept.

| name | bits a weight | what | by |
|---|---|---|---|
| `nf4` | 4.5 | linear layers | bitsandbytes |
| `int8` | 8 | linear layers; on a GPU activations are rounded to 8 bits, too | bitsandbytes |
| `torchao-int8` | 8 | linear layers | torchao |
| `torchao-fp8` | 8 | linear layers | torchao |
| `int4` | 4.5 | linear layers and experts | dcm, see `dcm.causal_lm.four_bits` |
| `mxfp4` | 4.25 | experts, or linear layers where there are none | dcm, likewise |
"""
QUANTIZE: tuple[str, ...] = get_args(Quantize)

# Ways of multiplying experts that transformers knows.
_NO_BACKWARD = ("deepgemm",)

_PACKAGES = {
    "nf4": "bitsandbytes",
    "int8": "bitsandbytes",
    "torchao-int8": "torchao",
    "torchao-fp8": "torchao",
}


def check_quantize(quantize: Quantize) -> None:
    """That what a form needs is installed; before a model is read.

    Raises:
        GeneratorError: it is not.
    """
    package = _PACKAGES.get(quantize)
    if package and find_spec(package) is None:
        raise GeneratorError(
            f"quantize={quantize!r}",
            f"The package {package} is not installed",
            "Install it: pip install 'dynamic-context-memory[quantised]'",
        )


def choose_experts(model: Any, implementation: str) -> None:
    """Choose how the experts of a mixture multiply.

    Args:
        model: a Hugging Face causal language model.
        implementation: a name that transformers knows: "eager", "grouped_mm", "batched_mm" or one
            of its own kernels'.

    Raises:
        GeneratorError: it has no experts, or the name is unknown or has no gradient.
    """
    asked = f"experts_implementation={implementation!r}"
    if not any(True for _ in expert_layers(model)):
        raise GeneratorError(asked, "The model has no experts", "Leave it out")
    if implementation in _NO_BACKWARD:
        there = "Its kernels have no backward pass, and contents need a gradient"
        raise GeneratorError(asked, there, "Use grouped_mm")
    try:
        model.set_experts_implementation(implementation)
    except (ImportError, ValueError) as error:
        there = " ".join(str(error).split())
        raise GeneratorError(asked, there, "Use grouped_mm") from error


def quantise(model: Any, quantize: Quantize, device: torch.device | str) -> None:
    """Quantise the repeated layers of a model on `device`, one layer at a time, and move it there.

    The device never holds more than one layer that is not quantised. Embeddings, head, norms,
    routers and biases keep their dtype. The gradient in the layers' inputs is that of the
    dequantised weights.

    Args:
        model: a Hugging Face causal language model, on any device.
        quantize: the form.
        device: where its weights go.

    Raises:
        GeneratorError: it has no layer that can be quantised so.
    """
    check_quantize(quantize)
    model.requires_grad_(requires_grad=False)
    found = 0
    for layer in repeated_layers(model):
        layer.to(device)
        experts = list(expert_layers(layer))
        if quantize in ("int4", "mxfp4"):
            form: Literal["int4", "mxfp4"] = "int4" if quantize == "int4" else "mxfp4"
            for module, names in experts:
                pack(module, names, form)
            if quantize == "int4" or not experts:
                for _, _, linear in _linears(layer):
                    pack(linear, ["weight"], form)
                    found += 1
            found += len(experts)
        else:
            for parent, name, linear in _linears(layer):
                setattr(parent, name, _MAKE[quantize](linear))
                found += 1
    if not found:
        there = "The model's layers hold no torch.nn.Linear" + (
            " and no experts" if quantize in ("int4", "mxfp4") else ""
        )
        raise GeneratorError(f"quantize={quantize!r}", there, "Leave quantize out")
    model.to(device)


def _linears(layer: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """The linear layers in a layer, each with the module that holds it and its name there."""
    for parent in list(layer.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                yield parent, name, child


def _nf4(linear: nn.Linear) -> nn.Module:
    import bitsandbytes as bnb

    weight = linear.weight.detach()
    with torch.device("meta"):
        made = bnb.nn.Linear4bit(*_sizes(linear), compute_dtype=weight.dtype, quant_type="nf4")
    # Else a pass without gradient on a CPU would pack the weights for good, for a product that has
    # none.
    made.support_avx512bf16_for_cpu = False
    made.bias = linear.bias
    made.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", module=made)
    return made.to(weight.device)  # type: ignore[no-any-return] # which quantises it


def _int8(linear: nn.Linear) -> nn.Module:
    import bitsandbytes as bnb

    with torch.device("meta"):
        # Without a threshold: one would be looked for in the whole batch, and a row's result would
        # depend on the rows beside it.
        made = bnb.nn.Linear8bitLt(*_sizes(linear), has_fp16_weights=False, threshold=0.0)
    made.bias = linear.bias
    codes, scales, _ = bnb.functional.int8_vectorwise_quant(linear.weight.detach().half())
    made.weight = bnb.nn.Int8Params(
        codes, requires_grad=False, has_fp16_weights=False, CB=codes, SCB=scales
    )
    return made  # type: ignore[no-any-return]


def _sizes(linear: nn.Linear) -> tuple[int, int, bool]:
    return linear.in_features, linear.out_features, linear.bias is not None


def _torchao(config: str) -> Callable[[nn.Linear], nn.Module]:
    def make(linear: nn.Linear) -> nn.Module:
        from torchao import quantization

        holder = nn.Sequential(linear)
        quantization.quantize_(holder, getattr(quantization, config)())
        return holder[0]

    return make


_MAKE: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "nf4": _nf4,
    "int8": _int8,
    "torchao-int8": _torchao("Int8WeightOnlyConfig"),
    "torchao-fp8": _torchao("Float8WeightOnlyConfig"),
}
