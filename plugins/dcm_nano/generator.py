"""The bundled model."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files

import attrs
import torch

from dcm.causal_lm import CausalLM, CausalLMGenerator


@attrs.frozen
class Nano(CausalLMGenerator):
    """A Qwen2-shaped model of 6.1 million parameters that comes with dcm.

    It knows English and digits well enough to show and test everything; its model card
    (`dcm_nano/model/README.md`) tells data, recipe and limits.

    Attributes:
        dtype: what the model computes in: float32, bfloat16 or float64.
        device: a torch device; "auto" takes a GPU if there is one.
    """

    dtype_name: str = attrs.field(
        default="float32",
        alias="dtype",
        validator=attrs.validators.in_(("float32", "bfloat16", "float64")),
    )
    device_name: str = attrs.field(default="auto", alias="device")

    def load(self) -> CausalLM:
        return CausalLM.load(
            str(files("dcm_nano") / "model"),
            dtype=self.dtype_name,
            device=self.device_name,
            local=True,
        )

    @cached_property
    def device(self) -> torch.device:
        return torch.device(self.lm.model.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]
