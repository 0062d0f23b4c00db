"""A Hugging Face causal language model by hub name or folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import torch

from dcm import UsageError
from dcm.causal_lm import (
    DTYPES,
    QUANTIZE,
    CausalLM,
    CausalLMGenerator,
    Compute,
    Framing,
    Quantize,
    Weights,
    checkpoint_layers,
)
from dcm.fields import one_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def _dtype(name: str) -> str:
    return DTYPES.get(name, name)


def _name_or_absolute_path(name: str) -> str:
    # A run that goes on in another folder must find the same one.
    return str(Path(name).absolute()) if isinstance(name, str) and Path(name).exists() else name


@attrs.frozen(repr=False)
class Transformers(CausalLMGenerator):
    """Any Hugging Face causal language model, dense or mixture of experts, frozen.

    Attributes:
        model: a folder with config.json, weights and tokenizer, or a name on the hub. A folder
            that exists is never looked up on the hub.
        dtype: what the model computes in: float32, bfloat16, float16 or float64, or a usual short
            name of one (bf16). "auto" takes the checkpoint's on a GPU, and float32 on a CPU.
        device: a torch device such as "cpu" or "cuda:1"; "auto" takes a GPU if there is one.
        gguf_file: a GGUF file in `model`, from which weights, config and tokenizer are read; the
            weights are dequantised. Needs the package gguf.
        quantize: in what the weights of its layers are kept: "nf4" or "int8" (bitsandbytes),
            "torchao-int8", "torchao-fp8", "int4" or "mxfp4"; None for `dtype`. Decoding and
            certification compute with them, too.
        experts_implementation: how the experts of a mixture multiply, as transformers has it:
            "grouped_mm", "batched_mm", "eager"; None for what transformers chooses.
        framing: what stands around each prompt: nothing ("raw"), or the tokenizer's chat template
            ("chat"), with the prompt where the user's text would be, the target where the reply
            begins, and thinking switched off where the template can be told so.
        trust_remote_code: run Python code that comes with the model. Off unless asked.
        revision: a branch, tag or commit on the hub; None for the newest.
        device_map: how the model is spread over several devices, "auto" or "balanced", say, as
            accelerate has it; in place of `device`.
        tp_plan: "auto" splits each layer over the processes that torchrun started, as transformers
            has it; in place of `device`.
        checkpointing: whether steps keep only what goes into a layer, and compute the rest again
            when they need it: less memory a row, a third more to compute.
        compiled: whether its layers are compiled for the solver's steps, which takes some 15
            seconds once; None does so on a GPU when steps have taken so long that it pays.
        compute: what its linear layers multiply in during the solver's steps: "bfloat16" or "fp8",
            see `dcm.causal_lm.products`; None for `dtype`.
    """

    model: str = attrs.field(converter=_name_or_absolute_path)
    dtype_name: str = attrs.field(
        default="auto",
        alias="dtype",
        converter=_dtype,
        validator=one_of("auto", *dict.fromkeys(DTYPES.values())),
    )
    device_name: str = attrs.field(default="auto", alias="device")
    gguf_file: str | None = None
    quantize: Quantize | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *QUANTIZE))
    )
    experts_implementation: str | None = None
    framing: Framing = attrs.field(default="raw", validator=one_of("raw", "chat"))
    trust_remote_code: bool = False
    revision: str | None = None
    device_map: str | None = None
    tp_plan: str | None = None
    checkpointing: bool = False
    compiled: bool | None = None
    compute: Compute | None = attrs.field(default=None, validator=one_of(None, "bfloat16", "fp8"))

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        framing: Framing = "raw",
        compiled: bool | None = None,
        compute: Compute | None = None,
    ) -> Transformers:
        """The generator of a model that is loaded already, on its device and in its dtype.

        It is put into evaluation mode and its parameters want no gradient any more. What describes
        it (`experiment.json`, a repr) names the place that it was loaded from; whatever was done to
        its weights since is not told by it, so resume such a run from Python.

        Args:
            model: a causal language model.
            tokenizer: its tokenizer.
            framing: as the field.
            compiled: as the field.
            compute: as the field.

        Raises:
            GeneratorError: it cannot be optimised behind vectors.
            UsageError: what is given is no model, or no tokenizer.
        """
        from transformers import PreTrainedTokenizerBase

        for what, given, kind in (
            ("model", model, torch.nn.Module),
            ("tokenizer", tokenizer, PreTrainedTokenizerBase),
        ):
            if not isinstance(given, kind):
                do = "Give what transformers has loaded"
                raise UsageError(f"a {what} is expected, not {given!r:.60}", "", do)
        made = cls(
            model=model.config._name_or_path or type(model).__name__,
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device),
            framing=framing,
            compiled=compiled,
            compute=compute,
        )
        frozen = model.eval().requires_grad_(requires_grad=False)
        loaded = CausalLM(frozen, tokenizer, compiled=compiled, compute=compute)
        loaded.tried.at_load()
        object.__setattr__(made, "lm", loaded)  # in place of what `load` would give
        return made

    def load(self) -> CausalLM:
        loaded = CausalLM.load(
            self.model,
            dtype=self.dtype_name,
            device=self.device_name,
            local=_is_path(self.model),
            trust_remote_code=self.trust_remote_code,
            revision=self.revision,
            device_map=self.device_map,
            tp_plan=self.tp_plan,
            weights=Weights(self.gguf_file, self.quantize, self.experts_implementation),
        )
        if self.checkpointing:
            checkpoint_layers(loaded.model)
        return attrs.evolve(loaded, compiled=self.compiled, compute=self.compute)

    @cached_property
    def device(self) -> torch.device:
        return torch.device(self.lm.model.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        return self.lm.model.dtype  # type: ignore[no-any-return]


def _is_path(name: str) -> bool:
    # Names on the hub are "name" or "owner/name"; whatever else looks like a path is one.
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
