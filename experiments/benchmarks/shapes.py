"""Models of known shapes with random weights, for what depends on the shape alone."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch

from dcm.causal_lm import CausalLM, CausalLMGenerator, Quantize
from dcm.causal_lm.products import Compute
from dcm.causal_lm.quantised import quantise
from dcm.causal_lm.skeleton import skeleton
from dcm.memory_limit import free_cached_memory
from dcm.testing.doubles import byte_tokenizer

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2.5-7b": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    "qwen2.5-0.5b": (
        "qwen2",
        {
            "vocab_size": 151936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2.5-1.5b": (
        "qwen2",
        {
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
    ),
    "smollm2-135m": (
        "llama",
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2.5-14b": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
        },
    ),
    "pythia-160m": (
        "gpt_neox",
        {
            "vocab_size": 50304,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
    ),
    "gpt-oss-20b": (
        "gpt_oss",
        {
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
        },
    ),
    "gpt-oss-120b": (
        "gpt_oss",
        {
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 36,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
        },
    ),
    # Small enough for tests of all that a mixture of experts has of its own.
    "tiny-moe": (
        "gpt_oss",
        {
            "vocab_size": 257,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
        },
    ),
}


# Projections whose results are added to what goes on, as transformers names them.
_ADDS = ("o_proj", "down_proj", "dense", "dense_4h_to_h")


@attrs.frozen
class Shape(CausalLMGenerator):
    """A model of a known shape with random weights and a byte tokenizer.

    Attributes:
        shape: a key of `SHAPES`.
        dtype_name: what it computes in.
        device_name: where.
        compute: what its linear layers multiply in during steps, see `dcm.causal_lm.products`.
        compiled: whether its layers are compiled, see `dcm.causal_lm.regions`.
        quantize: in what its layers' weights are kept, see `dcm.causal_lm.quantised`.
        sizes: of the config, in place of those of the shape.
    """

    shape: str
    dtype_name: str
    device_name: str
    compute: Compute | None = None
    compiled: bool | None = None
    quantize: Quantize | None = None
    sizes: dict[str, int] = attrs.field(factory=dict, hash=False)

    @property
    def config(self) -> Any:
        """Its Hugging Face config."""
        from transformers import AutoConfig

        architecture, sizes = SHAPES[self.shape]
        ends = {"bos_token_id": 256, "eos_token_id": 256}
        return AutoConfig.for_model(architecture, **{**sizes, **ends, **self.sizes})

    def load(self) -> CausalLM:
        from transformers import AutoModelForCausalLM

        config = self.config
        if self.quantize == "mxfp4" and hasattr(config, "num_local_experts"):
            # As dense weights they may not fit: the blocks are drawn themselves.
            model = skeleton(config, self.dtype, self.device_name, "mxfp4")
            draw(model, self.device)
            settle(model)
        else:
            # Weights are drawn where they stay and in their own dtype: no second copy, no transfer.
            with torch.device(self.device_name):
                model = AutoModelForCausalLM.from_config(config, dtype=self.dtype)
            settle(model)
            if self.quantize is not None:
                quantise(model, self.quantize, self.device)
        model = model.eval().requires_grad_(requires_grad=False)
        free_cached_memory()
        return CausalLM(model, byte_tokenizer(), self.compiled, self.compute)

    @property
    def device(self) -> torch.device:
        return torch.device(self.device_name)

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]


@torch.no_grad()
def settle(model: Any) -> None:
    """Make what each layer adds smaller by the root of how many add, as GPT-2 was initialised.

    Else deep mixtures of random experts are chaotic: a rounding turns a router, whose other expert
    turns the routers behind it, and no two ways of computing the same agree. Source: Radford et al.
    2019, section 2.3.
    """
    factor = (2 * model.config.num_hidden_layers) ** -0.5
    for name, parameter in model.named_parameters():
        if not any(part in _ADDS for part in name.split(".")):
            continue
        if name.endswith("original1"):  # exponents of MXFP4
            parameter.data.sub_(round(-math.log2(factor)))
        elif parameter.ndim > 1 and parameter.is_floating_point():
            parameter.data.mul_(factor)


def draw(model: torch.nn.Module, device: torch.device) -> None:
    """Draw the parameters that a skeleton lacks, as large as those of a new model."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            drawn = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            if name == "original0":  # blocks of MXFP4
                drawn.random_(0, 256)
            elif name == "original1":  # 2**-7 times what has a mean square of 8.6
                drawn.fill_(120)
            elif parameter.ndim > 1 and not name.endswith("bias"):
                drawn.normal_(0, 0.02)
            else:
                drawn.fill_(1.0 if name == "weight" else 0.0)
            setattr(module, name, torch.nn.Parameter(drawn, requires_grad=False))
    model.tie_weights()  # type: ignore[operator]
