"""The last layer's feed-forward network is spared positions, and no score changes for it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dcm.causal_lm.last_layer import LastLayer
from dcm.strands import Strands
from dcm.testing.doubles import TinyGenerator

TEXTS = [tuple(range(5, 25)), (7, 3, 9), tuple(range(40, 58)), (1, 2)]


def scored(lm: Any, layout: Any) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    width = lm.model.get_input_embeddings().embedding_dim
    content = torch.randn(2, 12, width, generator=generator, requires_grad=True)
    lead = torch.randn(4, width, generator=generator)
    strands = Strands(torch.tensor([0, 0, 1, 1]), lead, TEXTS, torch.ones(4), 2, layout)
    scores = lm.score(content, strands)
    scores.nll.sum().backward()
    assert content.grad is not None
    return scores.nll.detach(), scores.margin.detach(), content.grad


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_scores_and_gradients_are_those_of_the_whole_layer(layout, monkeypatch):
    lm, lines = TinyGenerator().lm, []
    last = lm.model.base_model.layers[-1].mlp
    last.up_proj.register_forward_hook(lambda module, given, out: lines.append(out[..., 0].numel()))
    scored(lm, layout)  # tries what the model can
    lines.clear()
    spared = scored(lm, layout)
    few = sum(lines)
    lines.clear()
    monkeypatch.setattr(LastLayer, "_can_be", False)
    whole = scored(attrs.evolve(lm), layout)
    assert few <= sum(lines) - 2 * 12  # the slots of two rows
    for one, other in zip(spared, whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_model_is_as_it_was_for_anyone_else():
    lm = TinyGenerator().lm
    ids = torch.arange(24).view(2, 12)
    before = lm.model(ids).logits
    scored(lm, "suffix")
    assert torch.equal(lm.model(ids).logits, before)


@pytest.mark.parametrize("kind", ["gpt2", "bloom", "mamba", "qwen2_moe", "gemma"])
def test_other_architectures_score_as_without(kind, monkeypatch):
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **heads)).eval()
    lm = attrs.evolve(TinyGenerator().lm, model=model.requires_grad_(requires_grad=False))
    found = scored(lm, "prefix")
    monkeypatch.setattr(LastLayer, "_can_be", False)
    for one, other in zip(found, scored(attrs.evolve(lm), "prefix"), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
