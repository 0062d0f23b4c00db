"""The bundled model."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files

import attrs
import torch

from dcm.causal_lm import DTYPES, CausalLM, CausalLMGenerator, Compute
from dcm.fields import one_of


def _dtype(name: str) -> str:
    return DTYPES.get(name, name)


@attrs.frozen(repr=False)
class Nano(CausalLMGenerator):
    """A Qwen2-shaped model of 6.1 million parameters that comes with dcm.

    It knows English and digits well enough to show and test everything; its model card
    (`dcm_nano/model/README.md`) tells data, recipe and limits.

    Attributes:
        dtype: what the model computes in: float32, bfloat16 or float64, or a short name (bf16).
        device: a torch device; "auto" takes a GPU if there is one.
        compute: what its linear layers multiply in during the solver's steps: "bfloat16" or "fp8",
            see `dcm.causal_lm.products`; None for `dtype`.
    """

    dtype_name: str = attrs.field(
        default="float32",
        alias="dtype",
        converter=_dtype,
        validator=one_of("float32", "bfloat16", "float64"),
    )
    device_name: str = attrs.field(default="auto", alias="device")
    compute: Compute | None = attrs.field(default=None, validator=one_of(None, "bfloat16", "fp8"))

    def load(self) -> CausalLM:
        loaded = CausalLM.load(
            str(files("dcm_nano") / "model"),
            dtype=self.dtype_name,
            device=self.device_name,
            local=True,
        )
        return attrs.evolve(loaded, compute=self.compute)

    @cached_property
    def device(self) -> torch.device:
        return torch.device(self.lm.model.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]
