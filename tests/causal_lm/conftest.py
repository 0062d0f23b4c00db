"""Tiny random models of many builds, and what scoring them has to give."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from dcm import Strands
from dcm.causal_lm import CausalLM
from dcm.causal_lm.decoding import prompts
from dcm.causal_lm.generator_loss import generator_loss
from dcm.testing.doubles import byte_tokenizer

COMMON: dict[str, Any] = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 768,
    "initializer_range": 0.15,
    "bos_token_id": 256,
    "eos_token_id": 256,
    "pad_token_id": 256,
}
SLIDING: dict[str, Any] = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
BUILDS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "mistral": {"sliding_window": 8},
    "gemma2": {"head_dim": 16, **SLIDING, "attn_logit_softcapping": 2.0},
    "gemma3_text": {"head_dim": 16, **SLIDING},
    "gpt_oss": {"head_dim": 16, **SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2},
    "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3},
    "falcon": {"alibi": True, "new_decoder_architecture": False, "multi_query": False},
    "bloom": {"n_head": 4, "n_layer": 2},
    "gpt_neo": {
        "num_heads": 4,
        "num_layers": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 70,
    },
    "mamba": {"state_size": 8},
}


@cache
def _model(name: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(name, **{**COMMON, **BUILDS.get(name, {})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            # Sinks, for one, are born as they come.
            if not parameter.isfinite().all() or parameter.abs().max() > 1e3:
                torch.nn.init.normal_(parameter)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def build() -> Callable[..., CausalLM]:
    """Makes a tiny model of an architecture, with a byte tokenizer."""
    return lambda name, **options: CausalLM(_model(name), byte_tokenizer(), **options)


@pytest.fixture(scope="session")
def reference() -> Callable[[Any, Tensor, Strands], tuple[Tensor, Tensor]]:
    """Losses [J] of strands, each alone, and the gradient [R, K, D] of their sum."""

    def measured(model: Any, content: Tensor, strands: Strands) -> tuple[Tensor, Tensor]:
        content = content.detach().clone().requires_grad_()
        found = prompts(content[strands.row], strands.lead, strands.layout)
        losses = torch.stack(
            [
                generator_loss(model, torch.tensor(ids), prompt)
                for ids, prompt in zip(strands.ids, found, strict=True)
            ]
        )
        (gradient,) = torch.autograd.grad(losses.sum(), content)
        return losses.detach(), gradient

    return measured
