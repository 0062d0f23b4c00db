"""What `generate` chooses may be off by what rounding alone turns, and by no more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dcm.causal_lm.generate_trial import generates_alike


class Layer(nn.Module):
    """Turns its result by as much as a rounding, times `gain`."""

    def __init__(self, gain):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(gain))

    def forward(self, states):
        return (states.float() * self.weight).sin().to(states.dtype)


class Model(nn.Module):
    """Its `generate` chooses by states that went through one more rounding, or another token."""

    dtype = torch.bfloat16
    generation_config = None

    def __init__(self, gain, wrong):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(64, 32, dtype=self.dtype)
        self.layers = nn.ModuleList([Layer(1.0), Layer(gain)])
        self.wrong = wrong

    def get_input_embeddings(self):
        return self.table

    def forward(self, inputs_embeds, **_):
        for layer in self.layers:
            inputs_embeds = layer(inputs_embeds)
        return SimpleNamespace(logits=inputs_embeds @ self.table.weight.T)

    def generate(self, inputs_embeds, max_new_tokens, **_):
        chosen, embedded = [], inputs_embeds[:, -1:]
        for _ in range(max_new_tokens):
            logits = self(embedded * (1 + torch.finfo(self.dtype).eps)).logits[:, -1]
            chosen.append((-logits if self.wrong else logits).argmax(1))
            embedded = self.table(chosen[-1])[:, None]
        return torch.stack(chosen, 1)


@pytest.mark.parametrize(
    ("gain", "wrong", "alike"), [(1.0, False, True), (100.0, False, True), (1.0, True, False)]
)
@torch.no_grad()
def test_a_choice_is_right_but_for_what_rounding_turns(gain, wrong, alike):
    assert generates_alike(Model(gain, wrong), 64, texts=2, tokens=8) is alike


@torch.no_grad()
def test_without_what_rounding_turns_the_choice_would_be_wrong(monkeypatch):
    from contextlib import nullcontext

    from dcm.causal_lm import generate_trial

    monkeypatch.setattr(generate_trial, "rounded_again", lambda _: nullcontext())
    assert not generates_alike(Model(100.0, wrong=False), 64, texts=2, tokens=8)
