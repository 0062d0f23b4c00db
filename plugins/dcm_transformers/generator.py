"""A Hugging Face causal language model by hub name or folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import attrs
import torch

from dcm.causal_lm import QUANTIZE, CausalLM, CausalLMGenerator, Compute, Quantize

_DTYPES = ("float32", "bfloat16", "float16", "float64")


@attrs.frozen
class Transformers(CausalLMGenerator):
    """Any Hugging Face causal language model, dense or mixture of experts, frozen.

    Attributes:
        model: a folder with config.json, weights and tokenizer, or a name on the hub. A folder
            that exists is never looked up on the hub.
        dtype: what the model computes in: float32, bfloat16, float16 or float64.
        device: a torch device such as "cpu" or "cuda:1"; "auto" takes a GPU if there is one.
        gguf_file: a GGUF file in `model`, from which weights, config and tokenizer are read; the
            weights are dequantised. Needs the package gguf.
        quantize: in what the weights of its layers are kept: "nf4" or "int8" (bitsandbytes),
            "torchao-int8", "torchao-fp8", "int4" or "mxfp4"; None for `dtype`. Decoding and
            certification compute with them, too.
        experts_implementation: how the experts of a mixture multiply, as transformers has it:
            "grouped_mm", "batched_mm", "eager"; None for what transformers chooses.
        trust_remote_code: run Python code that comes with the model. Off unless asked.
        compiled: whether its layers are compiled for the solver's steps, which takes some 15
            seconds once; None does so on a GPU, for models of 50 million parameters and more.
        compute: what its linear layers multiply in during the solver's steps: "bfloat16" or "fp8",
            see `dcm.causal_lm.products`; None for `dtype`.
    """

    model: str
    dtype_name: str = attrs.field(
        default="float32", alias="dtype", validator=attrs.validators.in_(_DTYPES)
    )
    device_name: str = attrs.field(default="auto", alias="device")
    gguf_file: str | None = None
    quantize: Quantize | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *QUANTIZE))
    )
    experts_implementation: str | None = None
    trust_remote_code: bool = False
    compiled: bool | None = None
    compute: Compute | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, "bfloat16", "fp8"))
    )

    def load(self) -> CausalLM:
        loaded = CausalLM.load(
            self.model,
            dtype=self.dtype_name,
            device=self.device_name,
            local=_is_path(self.model),
            trust_remote_code=self.trust_remote_code,
            gguf_file=self.gguf_file,
            quantize=self.quantize,
            experts_implementation=self.experts_implementation,
        )
        return attrs.evolve(loaded, compiled=self.compiled, compute=self.compute)

    @cached_property
    def device(self) -> torch.device:
        return torch.device(self.lm.model.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]


def _is_path(name: str) -> bool:
    # Names on the hub are "name" or "owner/name"; whatever else looks like a path is one.
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
