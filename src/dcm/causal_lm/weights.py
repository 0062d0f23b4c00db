"""Weights: read as a checkpoint has them, or quantised when they are there."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any

import attrs
import torch

from dcm.causal_lm.gguf import gguf_options
from dcm.causal_lm.packed_checkpoint import packed_model
from dcm.causal_lm.quantised import Quantize, check_quantize, choose_experts, quantise


@attrs.frozen
class Weights:
    """How weights are read and kept.

    Attributes:
        gguf_file: a GGUF file that holds weights, config and tokenizer.
        quantize: in what layers' weights are kept, see `dcm.causal_lm.quantised`. A checkpoint that
            is in 4 bits stays as it is.
        experts_implementation: how experts multiply, as transformers has it.
    """

    gguf_file: str | None = None
    quantize: Quantize | None = None
    experts_implementation: str | None = None

    def check(self, name: str, *, local: bool) -> None:
        """That what is asked can be done; before anything is read.

        Raises:
            GeneratorError: it cannot.
        """
        if self.quantize is not None:
            check_quantize(self.quantize)
        if self.gguf_file is not None:
            gguf_options(name, self.gguf_file, local=local)

    @property
    def tokenizer_options(self) -> dict[str, Any]:
        """What the tokenizer's `from_pretrained` is told."""
        return {} if self.gguf_file is None else {"gguf_file": self.gguf_file}

    def read(
        self,
        name: str,
        dtype: torch.dtype | str,
        device: torch.device | str,
        options: Mapping[str, Any],
    ) -> tuple[Any, list[str]]:
        """A model, and the names of what its checkpoint lacks.

        Args:
            name: folder, or name on the hub.
            dtype: what it computes in; "auto" for the checkpoint's.
            device: where quantised layers are put.
            options: of `from_pretrained`.
        """
        from transformers import AutoModelForCausalLM

        model, missing = None, []
        if self.gguf_file is None:
            model = packed_model(name, dtype, device, options)
        packed = model is not None
        if model is None:
            more = dict(options)
            if self.gguf_file is not None:
                more |= gguf_options(name, self.gguf_file, local=bool(options["local_files_only"]))
            with redirect_stderr(io.StringIO()):  # a bar of GGUF that no option hides
                model, report = AutoModelForCausalLM.from_pretrained(
                    name, dtype=dtype, output_loading_info=True, **more
                )
            missing = sorted(report["missing_keys"])
        if self.experts_implementation is not None:
            choose_experts(model, self.experts_implementation)
        if self.quantize is not None and not packed and not missing:
            quantise(model, self.quantize, device)
        return model, missing
