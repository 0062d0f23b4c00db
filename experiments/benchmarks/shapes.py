"""Models of known shapes with random weights, for what depends on the shape alone."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from dcm.causal_lm import CausalLM, CausalLMGenerator
from dcm.causal_lm.products import Compute
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


@attrs.frozen
class Shape(CausalLMGenerator):
    """A model of a known shape with random weights and a byte tokenizer.

    Attributes:
        shape: a key of `SHAPES`.
        dtype_name: what it computes in.
        device_name: where.
        compute: what its linear layers multiply in during steps, see `dcm.causal_lm.products`.
        compiled: whether its layers are compiled, see `dcm.causal_lm.regions`.
    """

    shape: str
    dtype_name: str
    device_name: str
    compute: Compute | None = None
    compiled: bool | None = None

    def load(self) -> CausalLM:
        from transformers import AutoConfig, AutoModelForCausalLM

        architecture, sizes = SHAPES[self.shape]
        config = AutoConfig.for_model(architecture, **sizes, bos_token_id=256, eos_token_id=256)
        # Weights are drawn where they stay and in their own dtype: no second copy, no transfer.
        with torch.device(self.device_name):
            model = AutoModelForCausalLM.from_config(config, dtype=self.dtype)
        model = model.eval().requires_grad_(requires_grad=False)
        return CausalLM(model, byte_tokenizer(), self.compiled, self.compute)

    @property
    def device(self) -> torch.device:
        return torch.device(self.device_name)

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]
