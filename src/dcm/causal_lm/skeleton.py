"""A skeleton: a model without its numbers, to be filled with what is kept in fewer bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dcm.causal_lm.four_bits import Form, expert_layers, pack
from dcm.causal_lm.regions import repeated_layers


def skeleton(
    config: Any,
    dtype: torch.dtype,
    device: torch.device | str,
    form: Form,
    linears: tuple[str, ...] = (),
) -> Any:
    """A model with its parameters on the device "meta" and its buffers on `device`.

    Args:
        config: a Hugging Face config.
        dtype: of what is not packed, and of what is made dense.
        device: where the model shall be.
        form: in which experts are packed.
        linears: names of linear layers that are packed, too.
    """
    from transformers import AutoModelForCausalLM

    with _parameters_on_meta(), torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for layer in repeated_layers(model):
        for module, names in expert_layers(layer):
            pack(module, names, form)
    for name in linears:
        pack(model.get_submodule(name), ["weight"], form)
    return model.eval().requires_grad_(requires_grad=False)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Within it parameters of new modules hold no numbers; buffers, which models compute, do.

    As accelerate's `init_empty_weights` does it.
    """
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None:
            empty = nn.Parameter(parameter.to("meta"), requires_grad=False)
            module._parameters[name] = empty

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
